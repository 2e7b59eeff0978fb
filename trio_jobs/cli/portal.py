"""Call what is asynchronous from a command that does not wait in Trio. A thread has it open meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Generic, TypeVar

import trio

S = TypeVar("S")
T = TypeVar("T")


class Portal(Generic[S]):
    """Keeps a block open in a thread, and calls functions there.

    Args:
        block: Returns the block.

    Attributes:
        opened: What it gives, once it is open.
    """

    def __init__(self, block: Callable[[], AbstractAsyncContextManager[S]]) -> None:
        self._block = block
        self.opened: Future[S] = Future()

    def run(self, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Call a function in the block, and return what it returns. It blocks; no checkpoint."""
        answer: Future[T] = Future()
        self._token.run_sync_soon(self._nursery.start_soon, _answer, answer, fn, args)
        return answer.result()

    def serve(self) -> None:
        """Keep the block open until `close`. It is what the thread runs."""
        try:
            trio.run(self._serve)
        except Exception as error:  # noqa: BLE001  # it is raised where the block was to be opened
            if not self.opened.done():
                self.opened.set_exception(error)

    async def _serve(self) -> None:
        async with self._block() as found, trio.open_nursery() as nursery:
            self._token, self._nursery = trio.lowlevel.current_trio_token(), nursery
            self.opened.set_result(found)
            await trio.sleep_forever()

    def close(self) -> None:
        """Leave the block."""
        self._token.run_sync_soon(self._nursery.cancel_scope.cancel)


async def _answer(answer: Future[Any], fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
    try:
        answer.set_result(await fn(*args))
    except Exception as error:  # noqa: BLE001  # it is raised where the answer is waited for
        answer.set_exception(error)
    except BaseException as error:
        answer.set_exception(error)
        raise


@contextmanager
def opened_in_thread(block: Callable[[], AbstractAsyncContextManager[S]]) -> Generator[tuple[Portal[S], S]]:
    """Have an asynchronous block open in a thread, for the length of this one.

    Raises:
        Exception: What opening it raises.
    """
    portal = Portal(block)
    thread = threading.Thread(target=portal.serve, daemon=True)
    thread.start()
    found = portal.opened.result()
    try:
        yield portal, found
    finally:
        portal.close()
        thread.join()
