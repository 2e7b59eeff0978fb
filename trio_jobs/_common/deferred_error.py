"""Raise the error of a block after the tasks beside it have ended; a nursery would make a group of it."""

from __future__ import annotations

from types import TracebackType
from typing import Final

import trio

from .error_text import leaves
from .errors import SchemaTooNew, StoreCorrupt, StoreUnavailable

_OF_THE_STORE: Final = (StoreCorrupt, StoreUnavailable, SchemaTooNew)


class DeferredError:
    """Keeps the error of a block until `release` raises it.

    Args:
        beside: What runs beside the block, for the message of a group.

    Attributes:
        error: What the block raised; None if nothing.
    """

    def __init__(self, beside: str = "registry") -> None:
        self.error: BaseException | None = None
        self._beside = beside

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Keep what the block raised."""
        self.error = error
        return True

    def release(self) -> None:
        """Raise what the block raised, if anything."""
        if self.error is not None:
            raise self.error

    def beside(self, other: BaseException) -> BaseException:
        """Return what to raise when the tasks beside the block failed.

        A store that is out of reach or damaged is one fault, however many tasks met it, and needs no group.

        Args:
            other: The error of the tasks. It cancelled the block, so a `Cancelled` of the block is left out.
        """
        own = self.error
        errors = [other] if own is None or isinstance(own, trio.Cancelled) else [own, other]
        found = [leaf for error in errors for leaf in leaves(error)]
        if all(isinstance(leaf, _OF_THE_STORE) for leaf in found):
            return found[0]
        if len(errors) == 1:
            return other
        # As a nursery does, so that a Cancelled among them still finds its scope.
        return BaseExceptionGroup(f"the block and the {self._beside} failed", errors)
