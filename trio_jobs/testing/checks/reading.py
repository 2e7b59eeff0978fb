"""`read` and `history`: the log, in order, from any cursor."""

from __future__ import annotations

from collections.abc import Awaitable

from ..._common.states import Reason
from ..._model.job import Kind, Progress
from ...stores.contract import Store
from ..fold import check_agrees
from . import kit

VALUES: tuple[object, ...] = (
    *("", " ", "[DONE]", "[ERROR] no", "data: x\n\n", "event: end", "a\nb\r\nc\r", "\t", "None", "null"),
    *("\u00e9", "\u2028", "\U0001f600", "x" * 5000, '"', "\\", "'; DROP TABLE job; --", "{}"),
    *(None, True, False, 0, -1, 2**53, 10**18, 1.5, 1e300, 1e-300),
    *(
        list[int](),
        dict[str, int](),
        [list[int]()],
        {"a": {"b": [1, None, "c"]}},
        {"": ""},
        [1, "1", 1.5, None, True],
    ),
)
"""Values that every store keeps: what JSON can say. Some look like what stores and wires use themselves."""


async def values_survive(store: Store) -> None:
    """Whatever JSON can say comes back as it was: as token, saved, result, argument or metadata."""
    claim = await kit.start(store, *VALUES, metadata={str(n): value for n, value in enumerate(VALUES)})
    job_id = claim.submission.id
    kit.expect("claim: args", _exact(claim.submission.args), _exact(VALUES))
    job = await store.get(job_id)
    metadata = [job.metadata.get(str(n)) for n in range(len(VALUES))]
    kit.expect("get: metadata", _exact(metadata), _exact(VALUES))
    await store.append(job_id, 1, Kind.TOKEN, VALUES, 0)
    for offset, value in enumerate(VALUES, len(VALUES)):
        await store.append(job_id, 1, Kind.SAVED, [value], offset)
        kit.expect("append of saved, then get", repr((await store.get(job_id)).saved), repr(value))
    data = [event.data for event in (await kit.whole(store, job_id))[2:]]
    kit.expect("append, then read: data", _exact(data), _exact([*VALUES, *VALUES]))
    await store.finish(job_id, 1, kit.completed([*VALUES]))
    kit.expect("finish, then get: result", _exact((await store.get(job_id)).result), _exact(VALUES))


def _exact(values: object) -> list[str]:
    # 1, 1.0 and True are equal to Python, and different to a reader.
    return [repr(value) for value in values]  # type: ignore[attr-defined]


async def texts_survive(store: Store) -> None:
    """Tags, owner, key, messages and errors come back as they were, in any script."""
    text = "\u00e9 \U0001f600 \u2028 '\";\n\\ %s $1 {}"
    claim = await kit.start(store, tags={text: text, "": ""}, owner=text, key=text)
    job_id = claim.submission.id
    await kit.expect_job("claim", store, job_id, tags={text: text, "": ""}, owner=text, key=text)
    await store.request_cancel(job_id, text)
    await store.finish(job_id, 1, kit.failed(text, kit.ERROR))
    await kit.expect_job("finish (failed)", store, job_id, message=text, error=kit.ERROR)
    kit.expect("request_cancel, then read", (await kit.words(store, job_id))[2][2], text)


async def the_log_is_the_job(store: Store) -> None:
    """After every step the log is dense and legal, and the snapshot is its fold."""
    (job_id,) = await kit.accept(store, kit.make())

    async def agree(verb: str, step: Awaitable[object] | None = None) -> None:
        if step is not None:
            await step
        try:
            check_agrees(await store.get(job_id), await kit.whole(store, job_id))
        except AssertionError as error:
            raise AssertionError(f"after {verb}, get and read disagree: {error}") from None

    await agree("submit")
    await agree("claim", kit.again(store, job_id, kit.DOOMED))
    await agree("append", store.append(job_id, 1, Kind.TOKEN, ["a", "b"], 0))
    await agree("append", store.append(job_id, 1, Kind.SAVED, ["s"], 2))
    await kit.lapse()
    await agree("sweep", store.sweep())
    await agree("claim", kit.again(store, job_id))
    await agree("append", store.append(job_id, 2, Kind.PROGRESS, [Progress(1)], 0))
    await agree("finish (retried)", store.finish(job_id, 2, kit.retried(Reason.SNOOZED)))
    await agree("claim", kit.again(store, job_id))
    await agree("request_cancel", store.request_cancel(job_id, "tired"))
    await agree("finish (retried)", store.finish(job_id, 3, kit.retried()))


async def times_are_in_order(store: Store) -> None:
    """Events and snapshots have aware UTC times, which never go backwards and belong to the same clock."""
    job_id = await kit.started(store)
    await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)
    await store.request_cancel(job_id, None)
    await store.finish(job_id, 1, kit.completed())
    job, log = await store.get(job_id), await kit.whole(store, job_id)
    stamps = [event.timestamp for event in log]
    kit.expect("read: timestamps", stamps, sorted(stamps))
    times = [job.created_at, job.started_at, job.cancel_requested_at, job.finished_at]
    places = [0, 1, 3, 4]
    for at, place in zip(times, places, strict=True):
        ok = at is not None and at.utcoffset() is not None and abs((at - log[place].at).total_seconds()) < 5
        kit.ensure(f"get: a time is that of its event, {log[place].at}", holds=ok, came=at)


async def read_pages_by_cursor(store: Store) -> None:
    """`read` returns up to `limit` events behind the cursor; pages of any size make up the whole log."""
    job_id = await kit.started(store)
    await store.append(job_id, 1, Kind.TOKEN, [*range(10)], 0)
    await store.append(job_id, 1, Kind.SAVED, ["s"], 10)
    log = await kit.whole(store, job_id)
    kit.expect("read from 0: seq", [event.seq for event in log], [*range(1, 14)])
    for after in range(14):
        for limit in (1, 3, 100):
            page = await store.read(job_id, after, limit)
            kit.expect(f"read with after={after}, limit={limit}", page, log[after : after + limit])
    for after in (13, 14, 10**9):
        kit.expect(f"read with after={after}, where nothing is", await store.read(job_id, after, 5), [])


async def history_leaves_out_tokens_and_progress(store: Store) -> None:
    """`history` has all events but tokens and progress, with their seq."""
    job_id = await kit.started(store)
    await store.append(job_id, 1, Kind.TOKEN, ["a", "b"], 0)
    await store.append(job_id, 1, Kind.SAVED, ["s"], 2)
    await store.append(job_id, 1, Kind.PROGRESS, [Progress(1)], 3)
    await store.finish(job_id, 1, kit.retried())
    await kit.again(store, job_id)
    await store.append(job_id, 2, Kind.TOKEN, ["c"], 0)
    await store.request_cancel(job_id, None)
    await store.finish(job_id, 2, kit.completed())
    log = await kit.whole(store, job_id)
    found = [event for event in log if event.kind not in {Kind.TOKEN, Kind.PROGRESS}]
    kit.expect("history", await store.history(job_id), found)
    kit.expect("history: seq", [event.seq for event in found], [1, 2, 5, 7, 8, 10, 11])


async def an_unknown_job_is_said_to_be_unknown(store: Store) -> None:
    """Every verb about one job says which id it does not know, and a write to it makes no job."""
    (other,) = await kit.accept(store, kit.make())
    await kit.expect_unknown("an unknown job", store, "nobody")
    await kit.expect_unknown("a job whose id holds NUL", store, "no\0body")
    kit.expect("writes to an unknown job, then find", await kit.found(store), [other])
