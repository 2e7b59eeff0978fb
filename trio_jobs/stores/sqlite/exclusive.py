"""Find the place of a job whose exclusive name another one may hold, in one transaction; see `exclusion`."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..._common.states import Reason, State
from .. import exclusion
from ..rows import Written, text
from ..rules import due_at
from . import ends
from .group import Transaction


class Place(NamedTuple):
    """Where a new job stands.

    Attributes:
        attached: The job that is the answer in place of a new one; None if the new one is accepted.
        due: When it is due.
        behind: Whether it stands behind the holder of its name.
        put_off: Since when it is put off by a `Debounce`.
        has_room: Whether it takes the room of others in the queue.
    """

    attached: str | None
    due: float = 0.0
    behind: bool = False
    put_off: float | None = None
    has_room: bool = False


def place(tx: Transaction, new: Written) -> Place:
    """End what a new job replaces, request the cancellation of what it cancels, and return where it stands.

    Raises:
        Busy: It is refused.
    """
    options, name = new.submission.options, {name: new.values[name] for name in ("exclusive", "owner")}
    job_id, state, requested = tx.one("holder", **name) or (None, None, None)
    holder = exclusion.holder_of(None if state is None else State(state), asked=requested is not None)
    move = exclusion.move_of(options, holder, text(job_id) or "")
    due = due_at(options, tx.now)
    if move.place == "attached":
        return Place(text(job_id), due)
    gone = list(tx.run("replaceable", **name)) if move.replaces else []
    for one, word, *_ in gone:  # the holder last
        ends.end(tx, one, State(word), exclusion.replaced(new.submission.id))
    if move.cancels:
        ends.request_cancel(tx, text(job_id) or "", exclusion.CANCELS, 0.0)
    due, put_off = exclusion.put_off(options, due, tx.now, [since for *_, since in gone])
    has_room = any(reason != _AWAITING for _, _, reason, _ in gone)
    return Place(None, due, move.place == "behind", put_off, has_room)


_AWAITING: Final = Reason.AWAITING_INPUT.value
