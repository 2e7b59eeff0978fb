"""Stream a job as strings, of which the last says how it ended, as an older server did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import trio

from .._common.errors import JobCancelled, JobFailed, UnknownJob
from .._common.states import Reason

if TYPE_CHECKING:
    from .handle import JobHandle
    from .streams import TokenStream

DONE = "[DONE]"
CANCELLED = "[CANCELLED]"


def what_failed(failed: JobFailed) -> str:
    """Return the exception's own text if there is one, and else the message of the library."""
    error = failed.error
    if failed.reason is Reason.ERROR and error is not None:
        return error.message or error.type
    return failed.message


class LineStream(trio.abc.ReceiveChannel[str]):
    """The strings that a job streams, then `[DONE]`, `[ERROR] message` or `[CANCELLED]`.

    The last string is the end, whatever the strings before it say; nothing follows it.

    Args:
        submit: Submits the job; called on entering the block.
        owned: Whether the job is cancelled when the block is left before its end.

    Attributes:
        handle: The job, once the block was entered.
    """

    handle: JobHandle[Any, Any]

    def __init__(self, submit: Callable[[], Awaitable[JobHandle[Any, Any]]], *, owned: bool) -> None:
        self._submit = submit
        self._owned = owned
        self._tokens: TokenStream[Any] | None = None
        self._over = False

    async def __aenter__(self) -> Self:
        """Submit the job, and begin to read it. Raises what `JobRegistry.submit` does.

        If it is cancelled, the job was not submitted, or its cancellation is requested as on leaving the
        block.
        """
        self.handle = await self._submit()
        self._tokens = self.handle.stream()
        try:
            await self._tokens.__aenter__()
        except BaseException:
            await self._leave(self._tokens)  # noqa: ASYNC102  # that shields itself
            raise
        return self

    async def receive(self) -> str:
        """Return the next string, waiting for it if need be.

        Always a checkpoint. If it is cancelled, no string is lost.

        Raises:
            trio.EndOfChannel: The string that says how the job ended has been delivered.
            trio.ClosedResourceError: The stream is not open; use it in `async with`.
            StreamRestarted: A new attempt began.
            StreamGap: Strings are gone, because more were sent than retention keeps.
        """
        if self._tokens is None:
            raise trio.ClosedResourceError("open the stream with 'async with', and read it inside")
        if self._over:
            await trio.lowlevel.checkpoint()
            raise trio.EndOfChannel
        try:
            return str(await self._tokens.receive())
        except trio.EndOfChannel:
            line = DONE
        except JobFailed as failed:
            line = f"[ERROR] {what_failed(failed)}"
        except JobCancelled:
            line = CANCELLED
        self._over = True
        return line

    async def aclose(self) -> None:
        """Stop reading, and ask for the job's cancellation if it has not ended. Always a checkpoint."""
        if self._tokens is not None:
            await self._leave(self._tokens)
        await trio.lowlevel.checkpoint()

    async def _leave(self, tokens: TokenStream[Any]) -> None:
        self._tokens = None
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await tokens.aclose()
            if self._owned and not self._over:
                with suppress(UnknownJob, trio.ClosedResourceError):  # nothing is left to cancel
                    await self.handle.request_cancel("its reader left")
