"""The `async with` blocks of programs: used wrongly, they say what to write, and their error comes out last.

It is raised after the tasks beside the block have ended, by itself; a nursery would make a group of it.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, NoReturn, TypeVar

import trio

from .error_text import leaves
from .errors import SchemaTooNew, StoreCorrupt, StoreUnavailable

T_co = TypeVar("T_co", covariant=True)
_OF_THE_STORE: Final = (StoreCorrupt, StoreUnavailable, SchemaTooNew)


class Block(AbstractAsyncContextManager[T_co, None]):
    """What a function returns that is to be used as `async with call(…) as jobs:`.

    Args:
        call: The name of the function.
        inside: The block itself.
    """

    def __init__(self, call: str, inside: AbstractAsyncContextManager[T_co, Any]) -> None:
        self._call = call
        self._inside: AbstractAsyncContextManager[T_co, Any] | None = inside
        self._left = inside.__aexit__

    async def __aenter__(self) -> T_co:
        """Enter the block. Raises `RuntimeError` if Trio does not run here, or it was entered before."""
        if not trio.lowlevel.in_trio_task():
            raise RuntimeError(
                f"{self._call} needs Trio, and no task of Trio runs here: start the program with "
                "trio.run(main), not asyncio.run(main); from a thread, use trio.from_thread.run(…)"
            )
        if self._inside is None:
            raise RuntimeError(f"this block was entered before; call {self._call}(…) again for a new one")
        inside, self._inside = self._inside, None
        return await inside.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        """Leave the block. What it raised comes out in any case."""
        await self._left(*error)  # noqa: ASYNC102  # it shields what it has to

    def __getattr__(self, name: str) -> NoReturn:
        """Raise `AttributeError`: this is not yet what the block gives."""
        raise AttributeError(f"{self._write()}, and use jobs.{name} inside it")

    def __await__(self) -> NoReturn:
        """Raise `TypeError`: it is no coroutine."""
        raise TypeError(f"{self._write()}, not 'await {self._call}(…)'")

    def __enter__(self) -> NoReturn:
        """Raise `TypeError`: the block is asynchronous."""
        raise TypeError(f"{self._write()}, not 'with'")

    def __exit__(self, *error: object) -> None:
        """Do nothing: it was not entered."""

    def _write(self) -> str:
        return f"{self._call}(…) opens a block: write 'async with {self._call}(…) as jobs:'"


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
