"""Cancel, submit again and remove all jobs that match, in pieces that hold nobody up.

The newest come first: so no job that comes meanwhile is among them, and none starts because the one that it
stood behind was cancelled. What is done stays done if a call fails or is cancelled, and it may be made again.

The annotations are types, not text, as in `job.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import attrs
import trio

from .._common.errors import QueueFull, StoreUnavailable, TrioJobsError, UnknownJob
from .._common.states import UNFINISHED, State
from .._running.worker import Worker
from ..stores.contract import COUNTED, Store, Submission, Where
from ..stores.resubmitting import keeper_of, resubmission

Action: TypeAlias = Literal["cancel", "retry", "remove"]
PIECE: Final = 500
"""How many jobs are changed together: in a file, in one commit."""
_ENDED: Final = frozenset(State) - UNFINISHED


@attrs.frozen(slots=False)  # there are few, and it is made faster
class BulkReport:
    """What became of the jobs that matched.

    Attributes:
        count: How many were changed; or would be, if that was the question.
        more: Whether it may be more: those that would be changed are counted up to 10,000.
        refused: How many could not be submitted again.
        message: Why not, of one of these, with its id.
    """

    count: int = 0
    more: bool = False
    refused: int = 0
    message: str | None = None


class _Tally:
    """What has become of jobs so far."""

    def __init__(self) -> None:
        self.count = self.refused = 0
        self.message: str | None = None

    def refuse(self, job_id: str, why: Exception) -> None:
        """Note that a job could not be submitted again."""
        self.refused += 1
        self.message = self.message or f"job {job_id}: {why}"


def affected(action: Action, where: Where) -> Where:
    """Return which of the jobs that match an action changes."""
    allowed = UNFINISHED if action == "cancel" else _ENDED
    usual = frozenset({State.FAILED}) if action == "retry" else allowed
    states = usual if where.states is None else allowed & frozenset(where.states)
    return where._replace(states=states, retryable=action == "retry")


async def count_affected(worker: Worker, action: Action, where: Where) -> BulkReport:
    """Return how many jobs an action would change."""
    wanted = affected(action, where)
    found = sum((await worker.store.count(wanted)).values())
    return BulkReport(found, more=wanted.searched and found >= COUNTED)


async def cancel_all(worker: Worker, where: Where, reason: str | None = None) -> int:
    """Ask for the cancellation of all jobs that match and have not ended."""
    return await _change_each(
        worker, affected("cancel", where), lambda job_id: worker.request_cancel(job_id, reason, 0.0)
    )


async def remove_all(worker: Worker, where: Where) -> int:
    """Delete all jobs that match and have ended."""

    async def remove(job_id: str) -> bool:
        await trio.lowlevel.checkpoint()
        await worker.store.remove(job_id)
        return True

    return await _change_each(worker, affected("remove", where), remove)


async def retry_all(worker: Worker, where: Where, room: int | None = None) -> BulkReport:
    """Submit all jobs again that match, have ended and were not submitted again before.

    Args:
        worker: The worker.
        where: The filter. Without states, those that failed.
        room: See `Submission.room`.

    Raises:
        QueueFull: Too many jobs wait.
    """
    tally, keeper = _Tally(), keeper_of(worker.store)

    async def retry(ids: Sequence[str]) -> None:
        found = await _each(worker.store, ids, keeper.submission)
        batches: dict[str, list[Submission]] = {}
        for job_id in reversed(ids):  # in the order in which they came first
            before = found.get(job_id)
            if isinstance(before, Submission):
                try:
                    new = resubmission(before, {}, once=True)
                except (TypeError, ValueError) as error:  # its handler takes a limit_key now
                    tally.refuse(job_id, error)
                    continue
                new.room = room
                batches.setdefault(new.handler if new.options.exclusive is None else new.id, []).append(new)
            elif before is not None:
                tally.refuse(job_id, before)
        for batch in batches.values():
            await _submit(worker, batch, tally)

    await _in_pieces(worker.store, affected("retry", where), retry)
    return BulkReport(tally.count, refused=tally.refused, message=tally.message)


async def _submit(worker: Worker, batch: Sequence[Submission], tally: _Tally) -> None:
    """Submit a batch; if all of it is refused, one after the other."""
    left: Sequence[Submission] = ()
    try:
        ids = await worker.submit(batch)
    except StoreUnavailable:
        raise
    except TrioJobsError as error:
        if len(batch) > 1:
            left = batch
        elif isinstance(error, QueueFull) and error.name is None:  # there is room for none
            error.add_note(f"{tally.count} jobs were submitted again before that")
            raise
        else:
            tally.refuse(batch[0].again.job_id if batch[0].again else "", error)
    else:
        tally.count += sum(new.id == job_id for new, job_id in zip(batch, ids, strict=True))
    for new in left:
        await _submit(worker, [new], tally)


# ------------------------------------------------------------ in pieces


async def _in_pieces(store: Store, where: Where, work: Callable[[Sequence[str]], Awaitable[None]]) -> None:
    """Do something to the ids of all jobs that match, the newest first."""
    after: str | None = None
    while True:
        await trio.lowlevel.checkpoint()
        page = await store.find(where, PIECE, after=after, newest=True)
        await work([job.id for job in page])
        if (after := page.next) is None:
            return


async def _change_each(worker: Worker, where: Where, act: Callable[[str], Awaitable[bool]]) -> int:
    """Change all jobs that match, and return how many were; `act` returns whether it did.

    Raises:
        TrioJobsError: A job could not be changed; all others were.
    """
    changed, faults = 0, list[Exception]()

    async def change(ids: Sequence[str]) -> None:
        nonlocal changed
        found = (await _each(worker.store, ids, act)).values()
        faults.extend(one for one in found if isinstance(one, Exception))
        changed += sum(one is True for one in found)

    await _in_pieces(worker.store, where, change)
    if faults:
        raise faults[0]
    return changed


async def _each(
    store: Store, ids: Sequence[str], act: Callable[[str], Awaitable[Any]]
) -> dict[str, Any | Exception]:
    """Return what a call returns for each job, or the error that concerns that job only.

    Raises:
        StoreUnavailable: The store cannot be reached.
        trio.ClosedResourceError: The registry was left.
    """
    found, lost = dict[str, Any](), list[Exception]()

    async def call(job_id: str) -> None:
        try:
            found[job_id] = await act(job_id)
        except UnknownJob:  # it was removed meanwhile
            pass
        except (StoreUnavailable, trio.ClosedResourceError) as error:
            lost.append(error)
        except TrioJobsError as error:
            found[job_id] = error

    if store.durable:  # calls that are made together are one commit
        async with trio.open_nursery() as nursery:
            for job_id in ids:
                nursery.start_soon(call, job_id)
    else:
        for job_id in ids:
            await call(job_id)
    if lost:
        raise lost[0]
    return found
