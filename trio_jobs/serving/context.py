"""What all connections of a server have in common."""

from __future__ import annotations

import attrs
import trio

from .._registry.registry import JobRegistry
from .access import AccessControl
from .limits import Limits
from .operations import JobOperations
from .options import ServerOptions


@attrs.frozen
class ServerContext:
    """What all connections of a server have in common.

    Attributes:
        options: What the server was told when it was started.
        access: Who may come in.
        operations: Does what callers ask.
        closing: Set when the server stops.
    """

    options: ServerOptions
    access: AccessControl
    operations: JobOperations
    closing: trio.Event = attrs.field(factory=trio.Event)

    @classmethod
    def of(cls, jobs: JobRegistry, options: ServerOptions) -> ServerContext:
        """Return the context of a server of a registry's jobs."""
        return cls(options, AccessControl(options), JobOperations(jobs, options))

    @property
    def limits(self) -> Limits:
        """What clients may ask for."""
        return self.options.limits
