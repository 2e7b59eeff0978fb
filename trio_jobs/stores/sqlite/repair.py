"""Mend a damaged row, so that its job can be ended and no other job is affected.

SQLite keeps no checksums, so a row that a disk or a program has damaged may hold anything: bytes that are no
text, a value of another type, a number that cannot grow. Nothing looks for that. A verb that meets it raises
an error that is none of the package's; then the row is mended, and the verb is done again. Verbs that only
read return what can be read.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

from ..._common.errors import TrioJobsError
from ..._common.states import State
from ..._json.values import decode
from ..rows import UNREADABLE, text
from .chunks import MOST, SEQ_BITS, log_ids
from .group import Transaction

DAMAGE: Final = (*UNREADABLE, apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError, ArithmeticError)
"""Errors that a damaged row raises, among other causes; see `is_damage`."""
_ROOM: Final = 2**62  # what is smaller can grow
_STATES: Final = frozenset(map(str, State))
_VALUES: Final = frozenset({"metadata", "error", "result", "saved", "progress"})  # in JSON, if there is any
_COUNTED: Final = frozenset({"state", "reason", "handler", "owner", "behind", "lane"})


def is_damage(error: BaseException) -> bool:
    """Return whether an error may come from a damaged row."""
    return isinstance(error, DAMAGE) and not isinstance(error, (TrioJobsError, UnicodeEncodeError))


def odd(tx: Transaction, number: int) -> dict[str, Any]:
    """Return the columns of a job that hold a value they must not hold, each with a value it can hold."""
    right: dict[str, Any] = {}
    stands: dict[str, Any] = {}
    for name, kind, needed in tx.run("columns"):
        sql = f"SELECT typeof({name}), iif(typeof({name}) = 'text', CAST({name} AS BLOB), {name})"
        for found, value in tx.select(f"{sql} FROM trio_jobs_job WHERE number = :number", {"number": number}):
            fits, stands[name] = _fitting(name, kind, value), value
            written = fits.encode() if isinstance(fits, str) else fits
            if (value is not None or needed) and (found != kind.lower() or value != written):
                right[name] = fits
    if right.get("id") == "":
        right["id"] = f"number-{number}"
    if 0 < number <= MOST:
        (newest,) = tx.one("newest_event", **log_ids(number)) or (None,)
        last = 0 if newest is None else newest & (1 << SEQ_BITS) - 1
        if not last <= right.get("seq", stands["seq"]) < 1 << SEQ_BITS:
            right["seq"] = last
    return right


def mend(tx: Transaction, number: int) -> list[str]:
    """Mend the row of a job, and return the columns that were damaged.

    Their values are lost, so the job has to fail.
    """
    right = odd(tx, number)
    if right:
        settings = ", ".join(f"{name} = :{name}" for name in right)
        tx.select(f"UPDATE trio_jobs_job SET {settings} WHERE number = :number", {**right, "number": number})  # noqa: S608  # ours
    if not right.keys().isdisjoint(_COUNTED):
        _count_anew(tx)
    return list(right)


def _fitting(name: str, kind: str, value: Any) -> Any:
    """Return a value as its column can hold it: the same value, if nothing is wrong with it."""
    if kind == "TEXT":
        said = text(value if isinstance(value, bytes) else str("" if value is None else value).encode())
        if name in _VALUES and not _is_json(value):
            return None
        return State.RUNNING.value if name == "state" and said not in _STATES else said
    if kind == "REAL":
        return value if isinstance(value, (int, float)) else 0.0
    fits = isinstance(value, int) and (0 <= value < _ROOM or name == "attempts")
    return value if fits else 0


def _is_json(value: Any) -> bool:
    try:
        decode(value)
    except UNREADABLE:
        return False
    return True


def mend_totals(tx: Transaction) -> bool:
    """Count all jobs anew if a counter is damaged; return whether one was."""
    odd = tx.one("odd_total") is not None
    if odd:
        _count_anew(tx)
    return odd


def _count_anew(tx: Transaction) -> None:
    tx.run("forget_totals")
    tx.run("count_anew")
    tx.run("clear_lanes")
    tx.run("count_lanes")
    tx.run("count_limits")
