"""What all connections of a server share."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager

import attrs
import trio

from .._registry.registry import JobRegistry
from .access import AccessControl
from .health import Health
from .limits import Limits
from .operations import JobOperations
from .options import Caller, ServerOptions


@attrs.frozen
class ServerContext:
    """What all connections of a server share.

    Attributes:
        options: The options of the server.
        access: The checks of every request.
        operations: What callers may do.
        health: Whether the store answers.
        closing: Set when the server stops.
    """

    options: ServerOptions
    access: AccessControl
    operations: JobOperations
    health: Health
    closing: trio.Event = attrs.field(factory=trio.Event)
    _scopes: set[trio.CancelScope] = attrs.field(factory=set[trio.CancelScope])

    @classmethod
    def of(cls, jobs: JobRegistry, options: ServerOptions) -> ServerContext:
        """Return the context of a server of a registry's jobs."""
        return cls(options, AccessControl(options), JobOperations(jobs, options), Health(jobs))

    @property
    def limits(self) -> Limits:
        """How much clients may ask for."""
        return self.options.limits

    def close(self) -> None:
        """Set `closing`, and end each block of `until_closing`."""
        self.closing.set()
        for scope in self._scopes:
            scope.cancel(reason="the server stops")

    @contextmanager
    def until_closing(self, seconds: float) -> Generator[trio.CancelScope]:
        """End a block when the server stops, as after a time limit: it waits for the first bytes of a peer.

        Args:
            seconds: The time limit.
        """
        with trio.move_on_after(seconds) as scope:
            self._scopes.add(scope)
            if self.closing.is_set():
                scope.cancel(reason="the server stops")
            try:
                yield scope
            finally:
                self._scopes.discard(scope)

    async def wait_closing(self, caller: Caller) -> bool:
        """Wait until the server stops, or a caller's authentication expires; return whether it stops."""
        with trio.move_on_after(math.inf if caller.expires is None else caller.expires):
            await self.closing.wait()
        return self.closing.is_set()
