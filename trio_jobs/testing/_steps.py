"""What is done after each step of a task: who is cancelled there, what must hold, what is noted."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from ._guest import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_NOTED: Final = 30
_MACHINERY: Final = (*RUNNERS, str(Path(trio.__file__).parent))


class Steps(trio.abc.Instrument):
    """Looks at a run after each step of a task, which is whenever another task may see what it has done.

    Args:
        fail: Where to leave what `check` raises.
        noting: Whether to note who takes each step. It costs several times what a step does.

    Attributes:
        check: What is to hold after each step, as a function that raises if it does not; None is nothing.
    """

    def __init__(self, fail: Callable[[BaseException], None], *, noting: bool) -> None:
        self.check: Callable[[], None] | None = None
        self._fail = fail
        self._noting = noting
        self._noted = deque[tuple[str, str]](maxlen=MOST_NOTED)
        self._cancels: list[tuple[int, trio.CancelScope]] = []
        self._count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        self._count += 1
        if self._noting and (place := _place(task)):
            self._noted.append((task.name.rpartition("<locals>.")[2], place))
        if self._cancels:
            for at, scope in self._cancels:
                if at <= self._count:
                    scope.cancel(reason="cancel_at")
            self._cancels = [one for one in self._cancels if one[0] > self._count]
        if self.check is not None:
            try:
                self.check()
            except BaseException as error:  # noqa: ASYNC103, BLE001  # handed on
                self.check = None
                error.add_note(f"It was so after a step of {task.name}, at {_place(task) or 'the end'}.")
                self._fail(error)

    def cancel_at(self, scope: trio.CancelScope, steps: int) -> None:
        """Cancel a scope when so many more steps have been taken, that of the caller included."""
        if steps == 0:
            scope.cancel(reason="cancel_at")
        self._cancels.append((self._count + steps, scope))

    def begin(self, check: Callable[[], None] | None) -> None:
        """Forget what was noted, and check this from now on."""
        self.check = check
        self._noted.clear()

    def __str__(self) -> str:
        if len({name for name, _ in self._noted}) < 2:
            return ""
        width = max(len(name) for name, _ in self._noted)
        lines = [f"  {name:<{width}}  {place}" for name, place in self._noted]
        return "\n".join([f"The last {len(lines)} steps of tasks, and where each of them ended:", *lines])


def _place(task: trio.lowlevel.Task) -> str:
    """Return the innermost line that a person wrote; nothing if the task has only ours and Trio's."""
    frames = list(task.iter_await_frames())
    if not frames:
        return "its end"
    place = ""
    for frame, line in frames:
        if not frame.f_code.co_filename.startswith(_MACHINERY):
            place = f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"
    return place
