"""Decide what becomes of a job whose exclusive name is held: one table for every store, as pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from .._common.errors import Busy
from .._common.states import Reason, State, Transition
from .._model.exclusive import Debounce
from .._model.job import Ended, Options
from .rules import WAITING, Conclusion

Holder: TypeAlias = Literal["none", "waits", "runs", "stops"]
"""The job that holds a name, if there is one: it waits, runs, or runs and was asked to end."""


class Move(NamedTuple):
    """What a submit does.

    Attributes:
        place: The new job holds the name (`first`), or is to hold it later (`behind`). Or it is not accepted:
            the answer is the holder (`attached`), or an error (`refused`).
        replaces: Whether all jobs that wait under the name end, replaced by the new one.
        cancels: Whether the cancellation of the holder is requested.
    """

    place: Literal["first", "behind", "attached", "refused"]
    replaces: bool = False
    cancels: bool = False


_FIRST: Final = Move("first")
_REFUSED: Final = Move("refused")
_ATTACHED: Final = Move("attached")
_BEHIND: Final = Move("behind")
_TAKES: Final = Move("first", replaces=True)
_FOLLOWS: Final = Move("behind", replaces=True)
_CANCELS: Final = Move("behind", replaces=True, cancels=True)
_TABLE: Final = {  # while there is no holder, while it waits, while it runs
    "reject": (_FIRST, _REFUSED, _REFUSED),
    "attach": (_FIRST, _ATTACHED, _ATTACHED),
    "after": (_FIRST, _BEHIND, _BEHIND),
    "replace": (_FIRST, _TAKES, _FOLLOWS),
    "cancel": (_FIRST, _TAKES, _CANCELS),
    "debounce": (_FIRST, _TAKES, _FOLLOWS),
}
MOVES: Final[Mapping[str, Mapping[Holder, Move]]] = {
    policy: {"none": free, "waits": waits, "runs": runs, "stops": runs}
    for policy, (free, waits, runs) in _TABLE.items()
}
"""What a submit does, by `on_busy` of the new job, not that of the others, and by what the holder does."""


def holder_of(state: State | None, *, asked: bool) -> Holder:
    """Return what the holder of a name does.

    Args:
        state: Its state; None if there is none.
        asked: Whether its cancellation was requested.
    """
    if state is None or state.over:
        return "none"
    if state in WAITING:
        return "waits"
    return "stops" if asked else "runs"


def move_of(options: Options, holder: Holder, job_id: str) -> Move:
    """Return what a submit does.

    Args:
        options: Those of the new job.
        holder: What the holder of its name does.
        job_id: The holder, if there is one.

    Raises:
        Busy: The new job is refused.
    """
    policy = options.on_busy
    move = MOVES["debounce" if isinstance(policy, Debounce) else policy][holder]
    if move.place == "refused":
        raise Busy(job_id)
    return move


def replaced(new: str) -> Conclusion:
    """Return how a job ends whose place a new one takes."""
    return Conclusion(Transition.CANCELLED, Ended(Reason.REPLACED, replaced_by=new))


CANCELS: Final = "another job is to take its place"
"""The text of the request to cancel the holder of a name."""


def put_off(
    options: Options, due: float, now: float, before: Iterable[float | None]
) -> tuple[float, float | None]:
    """Return when a new job is due, and since when it is put off; None if it is not.

    Args:
        options: Its options.
        due: When it would be due by itself.
        now: The store's clock.
        before: Since when each of the jobs was put off that it replaces.
    """
    if not isinstance(options.on_busy, Debounce):
        return due, None
    first = min((one for one in before if one is not None), default=now)
    return min(due, first + options.on_busy.at_most), first
