"""`trio-jobs check`: check that the store is sound, and that each job agrees with its log."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import attrs

from .._model.job import SNOOZES, TRIMMABLE, Event, Job, Kind
from ..stores.contract import Where
from ..testing.fold import check_agrees
from .faults import FAILED
from .opening import open_store
from .options import DEFAULT_STORE, Json, Store
from .output import line, say
from .reading import ReadOnlyStore

_DENSE: Final = frozenset({Kind.TOKEN, Kind.PROGRESS})  # an unconsumed input stays where others are trimmed


Flaw: TypeAlias = tuple[str | None, str]
"""The id of the job that has a fault, None if the store has it; and what is wrong."""


def check(*, store: Store = DEFAULT_STORE, json: Json = False) -> int:
    """Check that the store is sound, and that every job is what its log says.

    Prints each fault, and nothing is changed. The exit status is 0 if there is none, 1 if there is one.
    """
    number, flaws = 0, 0
    with open_store(store) as seen:
        for job, text in flaws_of(seen):
            flaws += 1
            say(f"{f'job {job}' if job else seen.called}: {text}", {"job": job, "text": text}, json=json)
        number = sum(seen.count(Where()).values())
    if not json:
        line(f"{number} jobs, {flaws or 'no'} fault{'' if flaws == 1 else 's'}")
    return FAILED if flaws else 0


def flaws_of(seen: ReadOnlyStore) -> Iterator[Flaw]:
    """Find what is wrong in a store; if SQLite itself finds damage, nothing else is checked."""
    damage = seen.damage()
    yield from ((None, text) for text in damage)
    if damage:
        return
    for what, name, state, said, counted in seen.wrong_totals():
        whose = "" if what == "all" else f" of {what} {name!r}"
        yield (None, f"{said} jobs{whose} are said to be {state}, and {counted} are")
    for number in seen.orphans():
        yield (None, f"there is a log of job number {number}, and no such job")
    for number, job_id, kept, unleased in seen.to_check():
        if unleased:
            yield (job_id, "it is running and has no lease, so no sweep would ever reclaim it")
        yield from ((job_id, text) for text in _flaws_of_job(seen, number, job_id, kept))


def _flaws_of_job(seen: ReadOnlyStore, number: int, job_id: str, kept: int) -> Iterator[str]:
    try:
        job, log = seen.job(job_id), seen.log(number, job_id)
    except Exception as error:  # noqa: BLE001  # what was damaged may break anything that reads it
        yield f"it cannot be read: {type(error).__name__}: {error}"
        return
    trimmable = sum(event.kind in TRIMMABLE for event in log) - job.unconsumed
    saved = sum(event.kind is Kind.SAVED for event in log)
    if not trimmable <= kept <= trimmable + saved:  # an older version did not count what was saved
        yield f"{kept} tokens and progress events are said to be kept, and {trimmable} are"
    try:
        _check_log(job, log)
    except AssertionError as error:
        yield str(error)


def _check_log(job: Job, log: Sequence[Event]) -> None:
    """Check a log that retention may have trimmed.

    Retention trims tokens, progress, saved values and consumed inputs, the oldest first: behind the first
    that is kept, all are. Of a job with many attempts it trims old snoozes too, and such a log is not
    checked further.

    Raises:
        AssertionError: The log has other holes, or the job does not agree with it.
    """
    if not log or [event.seq for event in log] == [*range(1, len(log) + 1)]:
        check_agrees(job, log)
        return
    if job.last_seq != log[-1].seq:
        raise AssertionError(f"last_seq is {job.last_seq}, and the log ends with {log[-1].seq}")
    if job.attempt > SNOOZES:
        return
    first = next((place for place, event in enumerate(log) if event.kind in _DENSE), len(log) - 1)
    behind = [event.seq for event in log[first:]]
    if behind != [*range(behind[0], behind[0] + len(behind))]:
        raise AssertionError(f"seq has holes behind {behind[0]}, where retention leaves none")
    seqs = [event.seq for event in log]
    dense = [
        attrs.evolve(event, seq=seq, received=event.received and bisect_right(seqs, event.received))
        for seq, event in enumerate(log, 1)
    ]
    check_agrees(attrs.evolve(job, last_seq=len(dense)), dense)
