"""The course of one example: step by step in one run, beside what goes on in the background."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio
from hypothesis.control import current_build_context, currently_in_test_context

from ._guest import GuestRun, unwrapped
from ._steps import Steps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator


class Course:
    """Runs the steps of a machine.

    Attributes:
        guest: The run in which they are.
    """

    def __init__(self, guest: GuestRun) -> None:
        # Hypothesis shows nothing of what ran before it runs a failing example for the last time.
        noting = not currently_in_test_context() or current_build_context().is_final
        self._steps = Steps(guest.fail, noting=noting)
        self._going: list[tuple[str, trio.Event]] = []
        self.guest = guest
        self._looking = False
        if noting:
            self._look()

    def call(self, name: str, fn: Callable[[], Awaitable[Any]], *, even_if_failed: bool = False) -> Any:
        """See `GuestRun.call`; return the result, or raise the error without groups of one around it."""
        return unwrapped(self.guest.call(name, fn, even_if_failed=even_if_failed)).unwrap()

    @contextmanager
    def explained(self) -> Generator[None]:
        """Let an error say which tasks ran before it, if there were several."""
        try:
            yield
        except BaseException as error:
            if schedule := str(self._steps):
                error.add_note(schedule)
            raise

    @contextmanager
    def step(self, check: Callable[[], None] | None) -> Generator[None]:
        """Begin a step, in which `check()` holds at every checkpoint."""
        with self.explained():
            if check is not None:
                self._look()
            self._steps.begin(check)
            try:
                yield
            finally:
                self._steps.check = None

    async def cancelled_at(self, at: int, fn: Callable[[], Awaitable[Any]], otherwise: object) -> Any:
        """Run `fn()`; cancel it when tasks have taken so many steps, and return something else then."""
        self._look()
        with trio.CancelScope() as scope:
            self._steps.cancel_at(scope, at)
            return await fn()
        return otherwise

    def begin(self, name: str, fn: Callable[[], Awaitable[Any]]) -> None:
        """Let `fn()` go on in the background, from when the next call runs."""
        ended = trio.Event()

        async def go_on() -> None:
            try:
                await fn()
            except Exception as error:
                error.add_note(f"It comes from {name}, a rule that went on in the background.")
                raise
            finally:
                ended.set()

        self._going.append((name, ended))
        self.guest.nursery.start_soon(go_on, name=name)

    def wait_for_background(self) -> None:
        """Wait until all has ended that was begun.

        Raises:
            AssertionError: Something takes longer than a step may.
        """
        for name, ended in self._going:
            self.call(name, ended.wait, even_if_failed=True)

    def _look(self) -> None:
        """Look at every step from now on; a run without that is faster."""
        if not self._looking:
            self._looking = True
            trio.lowlevel.add_instrument(self._steps)
