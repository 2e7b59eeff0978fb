"""Inputs, waits and steps in a file: what is kept of them, beside what every store is checked for."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.stores.sqlite.parts import look_again, signals_of, writer_of
from trio_jobs import (
    AwaitInput,
    Ended,
    IllegalTransition,
    InboxFull,
    InvalidPayload,
    JobContext,
    KeyConflict,
    Kind,
    QueueFull,
    Reason,
    Retention,
    State,
    Step,
    UnknownJob,
    handler,
    open_registry,
)
from trio_jobs.stores import Claim, Outcome, Transition, Where
from trio_jobs.stores.sqlite import SqliteStore, open_sqlite
from trio_jobs.stores.sqlite.group import Transaction
from trio_jobs.testing.checks.kit import HOLDER, accept, completed, make, retried, start, whole, work

AWAIT = Outcome(Transition.RETRIED, ended=Ended(Reason.AWAITING_INPUT, "for more", delay=math.inf))


@attrs.frozen
class Turn:
    """What a chat gets."""

    words: str
    loud: bool = False


@handler(inputs=Turn)
async def chat(job: object) -> None:
    """Stand in for a handler with declared inputs."""


opened = partial(open_sqlite, handlers=[work, chat], poll=math.inf)
Open = Callable[..., Any]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with opened(tmp_path / "jobs.db") as store:
        yield store


async def sql(store: SqliteStore, statement: str) -> list[Any]:
    found, _ = await writer_of(store).call(lambda tx: tx.db.execute(statement).fetchall())
    return list(found)


async def awaiting(store: SqliteStore, *, delay: float = math.inf, **options: Any) -> str:
    """Return a job that waits for an input."""
    job_id: str = (await start(store, **options)).submission.id
    ended = Ended(Reason.AWAITING_INPUT, "for more", delay=delay)
    assert await store.finish(job_id, 1, Outcome(Transition.RETRIED, ended=ended)) is State.RETRYING
    return job_id


async def claim_of(store: SqliteStore, job_id: str) -> Claim:
    (claim,) = await store.claim(9, HOLDER)
    assert claim.submission.id == job_id
    return claim


async def test_an_input_is_of_the_declared_type(store: SqliteStore) -> None:
    """It is checked when it is sent, by the handler of the job, and kept as JSON; other handlers take any."""
    job_id, other = await accept(store, make(target=chat), make())
    assert await store.send(job_id, "1", [Turn("hello"), {"words": "again", "loud": True}]) == 3
    with pytest.raises(InvalidPayload, match=r"an input of chat does not fit: .*words"):
        await store.send(job_id, "2", [Turn("fine"), {"word": "no"}])
    assert [event.data for event in await store.inputs(job_id, 0, 9)] == [
        {"words": "hello", "loud": False},
        {"words": "again", "loud": True},
    ]
    assert await store.send(other, "1", [{"word": "yes"}]) == 2
    with pytest.raises(InvalidPayload):
        await store.send(other, "2", [object()])


async def test_a_handler_that_is_not_known_here(tmp_path: Path) -> None:
    """A process without the job's handler takes any JSON for it."""
    async with opened(tmp_path / "jobs.db") as store:
        (job_id,) = await accept(store, make(target=chat))
    async with open_sqlite(tmp_path / "jobs.db") as plain:
        assert await plain.send(job_id, "1", [{"words": "hello"}]) == 2
        with pytest.raises(InvalidPayload, match="an input holds NaN"):
            await plain.send(job_id, "2", [math.nan])


async def test_an_id_is_known(store: SqliteStore) -> None:
    """The same values under the same id are the same input in any state; others are refused, whatever they
    are."""
    claim = await start(store)
    job_id = claim.submission.id
    assert await store.send(job_id, "1", [1, 2]) == 4
    assert await store.send(job_id, "1", [1, 2]) == 4
    await store.finish(job_id, 1, completed())
    assert await store.send(job_id, "1", [1, 2]) == 4
    for values in ([1], [1, 3], [math.nan]):
        with pytest.raises(KeyConflict, match="as the id of another input"):
            await store.send(job_id, "1", values)
    with pytest.raises(IllegalTransition):
        await store.send(job_id, "2", [1])
    await store.remove(job_id)
    assert await sql(store, "SELECT * FROM trio_jobs_input") == []
    with pytest.raises(UnknownJob):
        await store.send(job_id, "1", [1, 2])
    with pytest.raises(UnknownJob):
        await store.inputs(job_id, 0, 1)
    with pytest.raises(UnknownJob):
        await store.end_inputs(job_id)


async def test_nothing_is_sent(store: SqliteStore) -> None:
    """A call without values is the fault of who makes it, and does nothing to the job."""
    (job_id,) = await accept(store, make())
    await store.send(job_id, "1", [])
    assert [event.kind.value for event in await whole(store, job_id)] == ["submitted"]


async def test_the_end_of_the_inputs(store: SqliteStore) -> None:
    """It is told once, with the first number, also of a job that has ended; no input follows it."""
    first, second = await accept(store, make(), make())
    assert await store.end_inputs(first) == 2
    with pytest.raises(IllegalTransition, match="its inputs were ended"):
        await store.send(first, "1", [1])
    await store.request_cancel(first, None)
    assert await store.end_inputs(first) == 2
    await store.request_cancel(second, None)
    with pytest.raises(IllegalTransition):
        await store.end_inputs(second)
    assert [event.kind for event in await store.history(first)][:2] == [Kind.SUBMITTED, Kind.INPUTS_ENDED]


async def test_the_box_is_full(tmp_path: Path) -> None:
    """The bounds count what no save covers, whether it was received or not, to the byte."""
    keep = Retention(inputs=3, input_bytes=10, token_bytes=8)
    async with opened(tmp_path / "jobs.db", retention=keep) as store:
        job_id = (await start(store)).submission.id
        assert await store.send(job_id, "1", [1, 2]) == 4
        with pytest.raises(InboxFull, match="has 2 unconsumed inputs, and may have 3; try"):
            await store.send(job_id, "2", [3, 4])
        assert await store.send(job_id, "2", ["123456"]) == 5  # with its quotes exactly ten bytes in all
        with pytest.raises(InvalidPayload, match="an input of 9 bytes is over Retention.token_bytes=8"):
            await store.send(job_id, "3", ["1234567"])
        await store.append(job_id, 1, Kind.SAVED, ["x"], 0, received=4)
        assert (await store.get(job_id)).unconsumed == 1
        with pytest.raises(InboxFull, match="has 1 unconsumed inputs, and may have 10 bytes of them"):
            await store.send(job_id, "3", [123])
        assert await store.send(job_id, "3", [1, 2]) == 8
        await store.finish(job_id, 1, attrs.evolve(AWAIT, received=7))
        with pytest.raises(InboxFull, match="its handler has received 2 of them, and has to save"):
            await store.send(job_id, "4", [1])
        assert (await claim_of(store, job_id)).consumed == 4
        assert await sql(store, "SELECT input_bytes, kept FROM trio_jobs_job") == [(10, 3)]
        await store.finish(job_id, 2, attrs.evolve(completed(), received=8))
        assert await sql(store, "SELECT input_bytes, kept, unconsumed, consumed FROM trio_jobs_job") == [
            (0, 6, 0, 8)
        ]


async def test_what_is_consumed_goes(tmp_path: Path) -> None:
    """Consumed inputs are trimmed with tokens, and their ids with them; a trim passes over all others."""
    async with opened(tmp_path / "jobs.db", retention=Retention(events=8)) as store:
        job_id = (await start(store)).submission.id
        for number in range(3):
            await store.send(job_id, str(number), [number])
        await store.append(job_id, 1, Kind.SAVED, ["a"], 0, received=4)
        await store.append(job_id, 1, Kind.TOKEN, list("abcdefghij"), 1)
        found = [event.seq for event in await whole(store, job_id) if event.kind is Kind.INPUT]
        assert found == [5]
        assert [event.data for event in await store.inputs(job_id, 0, 9)] == [2]
        assert await sql(store, "SELECT id FROM trio_jobs_input") == [("2",)]
        assert await store.send(job_id, "2", [2]) == 5
        assert await store.send(job_id, "1", [1]) == 17  # as a new one
        many = list(range(10, 18))
        assert await store.send(job_id, "many", many) == 25
        await store.finish(job_id, 1, attrs.evolve(completed(), received=25))
        (counted,) = await sql(store, "SELECT kept, bytes FROM trio_jobs_job")
        events = await whole(store, job_id)
        kept = [event for event in events if event.kind in {Kind.INPUT, Kind.TOKEN, Kind.SAVED}]
        assert len(kept) == counted[0] <= 8
        sizes = await sql(
            store,
            "SELECT sum(octet_length(data)) FROM trio_jobs_event WHERE kind IN ('input', 'token', 'saved')",
        )
        assert counted[1] == sizes[0][0]
        assert await store.send(job_id, "many", many) == 25


async def test_received_is_kept_with_the_event(store: SqliteStore) -> None:
    """What an attempt wrote says what it had received, which never falls; what a sweep wrote does not."""
    claim = await start(store)
    job_id = claim.submission.id
    await store.send(job_id, "1", [1, 2])
    await store.append(job_id, 1, Kind.SAVED, ["a"], 0, received=4)
    await store.append(job_id, 1, Kind.SAVED, ["b"], 1, received=3)
    await store.append(job_id, 1, Kind.SAVED, ["c"], 2)
    await store.finish(job_id, 1, attrs.evolve(retried(), received=4))
    claim = await claim_of(store, job_id)
    assert (claim.consumed, claim.waited) == (4, None)
    await store.finish(job_id, 2, attrs.evolve(completed(), received=4))
    found = {event.seq: event.received for event in await whole(store, job_id)}
    assert found == {1: None, 2: None, 3: None, 4: None, 5: 4, 6: 4, 7: None, 8: 4, 9: None, 10: 4}


async def test_a_wait_is_woken(store: SqliteStore) -> None:
    """By an input or the end of them, at once: the claim says what it was, the log how often it waited."""
    job_id = await awaiting(store)
    assert (await store.get(job_id)).next_attempt_at is None
    (summary,) = await store.find(Where(), 9)
    assert summary.next_attempt_at is None
    assert await store.claim(9, HOLDER) == []
    await store.send(job_id, "1", [1])
    assert (await store.get(job_id)).next_attempt_at is not None
    assert (await claim_of(store, job_id)).waited == "input"
    await store.finish(job_id, 2, attrs.evolve(AWAIT, received=4))
    assert await store.claim(9, HOLDER) == []
    last = await store.end_inputs(job_id)
    assert (await claim_of(store, job_id)).waited == "input"
    await store.finish(job_id, 3, attrs.evolve(AWAIT, received=4))  # the end was not received
    assert (await claim_of(store, job_id)).waited == "input"
    await store.finish(job_id, 4, retried())
    assert (await claim_of(store, job_id)).waited is None
    await store.finish(job_id, 5, attrs.evolve(AWAIT, received=last))
    waits = [event.data for event in await whole(store, job_id) if event.kind is Kind.RETRIED]
    assert [(end.reason, end.repeats) for end in waits] == [
        (Reason.AWAITING_INPUT, 0),
        (Reason.AWAITING_INPUT, 1),
        (Reason.AWAITING_INPUT, 2),
        (Reason.ERROR, 0),
        (Reason.AWAITING_INPUT, 0),
    ]
    assert waits[0].delay == math.inf


async def test_a_wait_ends_with_its_time(tmp_path: Path) -> None:
    """The next attempt is told that no input came."""
    now = [1e9]
    async with opened(tmp_path / "jobs.db", clock=lambda: now[0]) as store:
        job_id = await awaiting(store, delay=5.0)
        now[0] += 6
        assert (await claim_of(store, job_id)).waited == "timeout"


async def test_who_waits_is_woken(store: SqliteStore) -> None:
    """A worker that waits for due jobs hears of the input, and of nothing when no job was woken."""
    job_id = await awaiting(store)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.due)
            await wait_all_tasks_blocked()
            before = signals_of(store).work.count
            await store.send(job_id, "1", [1])
            assert signals_of(store).work.count == before + 1
    await store.send(job_id, "2", [1])
    assert signals_of(store).work.count == before + 1


async def test_the_bound_of_the_queue(tmp_path: Path) -> None:
    """It counts no job that waits for an input, woken or not, for all and for an owner."""
    async with opened(tmp_path / "jobs.db", queue_limit=1) as store:
        waits = [await awaiting(store, owner="me") for _ in range(3)]
        await store.send(waits[0], "1", [1])
        (queued,) = await accept(store, attrs.evolve(make(owner="me"), room=1))
        with pytest.raises(QueueFull):
            await accept(store, make())
        assert await store.count(Where()) == {State.QUEUED: 1, State.RETRYING: 3}
        assert await store.count(Where(owner="me")) == {State.QUEUED: 1, State.RETRYING: 3}
        await store.request_cancel(queued, None)
        with pytest.raises(QueueFull, match="me"):
            await accept(store, *(attrs.evolve(make(owner="me"), room=0) for _ in range(1)))
        for job_id in waits:
            await store.request_cancel(job_id, None)
        awaited = "SELECT what, jobs FROM trio_jobs_total WHERE state = 'awaiting_input'"
        assert await sql(store, awaited) == [("all", 0)]


async def test_a_woken_job_is_not_overtaken(store: SqliteStore) -> None:
    """A new job starts at once beside those that wait, but not before one that was woken."""
    job_id = await awaiting(store)
    _, claims = await store.submit([make()], 1, HOLDER)
    assert len(claims) == 1
    await store.send(job_id, "1", [1])
    _, claims = await store.submit([make()], 1, HOLDER)
    assert [claim.submission.id for claim in claims] == [job_id]


async def test_counters_are_mended(store: SqliteStore) -> None:
    """Jobs that wait for an input are counted anew with all others."""
    job_id = await awaiting(store, owner="me")
    counters = "SELECT * FROM trio_jobs_total WHERE jobs > 0 ORDER BY what, name, state"
    before = await sql(store, counters)
    await sql(store, "UPDATE trio_jobs_total SET jobs = -5")
    await accept(store, make())
    assert [row for row in await sql(store, counters) if row[2] != "queued"] == before
    await store.request_cancel(job_id, None)


async def test_waits_are_folded(store: SqliteStore) -> None:
    """Of many waits and snoozes the newest hundred are kept, and each input that came between stays."""
    job_id = (await start(store)).submission.id
    last = 0
    for attempt in range(1, 126):
        awaits = attempt % 2
        end = AWAIT if awaits else Outcome(Transition.RETRIED, ended=Ended(Reason.SNOOZED, delay=0.0))
        await store.finish(job_id, attempt, attrs.evolve(end, received=last))
        last = await store.send(job_id, str(attempt), [attempt])
        await claim_of(store, job_id)
    found = [event.kind.value for event in await whole(store, job_id)]
    assert [found.count(kind) for kind in ("input", "retried", "started")] == [125, 101, 102]
    assert found[:5] == ["submitted", "started", "input", "input", "input"]


async def test_steps_are_kept(tmp_path: Path) -> None:
    """Their results come back from the history, never go, and are bounded in number and size."""
    keep = Retention(events=4, steps=3, step_bytes=200)
    async with opened(tmp_path / "jobs.db", retention=keep) as store:
        job_id = (await start(store)).submission.id
        steps = [Step("a", "d", {"x": [1]}), Step("b", "d", None)]
        await store.append(job_id, 1, Kind.STEP, steps, 0)
        await store.append(job_id, 1, Kind.TOKEN, list("abcdefgh"), 2)
        assert [event.data for event in await store.history(job_id) if event.kind is Kind.STEP] == steps
        with pytest.raises(InvalidPayload, match="Retention.steps=3"):
            await store.append(job_id, 1, Kind.STEP, steps, 10)
        with pytest.raises(InvalidPayload, match="Retention.step_bytes=200"):
            await store.append(job_id, 1, Kind.STEP, [Step("c", "d", "x" * 200)], 10)
        await store.append(job_id, 1, Kind.STEP, [Step("c", "d", "x")], 10)
        assert await sql(store, "SELECT steps FROM trio_jobs_job") == [(3,)]
        with pytest.raises(InvalidPayload, match="step d"):
            await store.append(job_id, 1, Kind.STEP, [Step("d", "d", object())], 11)


async def heard(store: SqliteStore, places: dict[str, int], do: Callable[[], Awaitable[object]]) -> Any:
    """Return what `listening` says when something is done while it waits."""
    found: list[Any] = []

    async def listen() -> None:
        found.append(await store.listening(places))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await wait_all_tasks_blocked()
            assert not found
            await do()
    return set(found[0])


async def test_listening(store: SqliteStore) -> None:
    """It returns for an input, for the end of them and for a removed job, and names the jobs it was asked."""
    first, second, third = await accept(store, make(), make(), make())
    places = {first: 1, second: 1}

    async def others_first() -> None:
        await store.send(third, "1", [1])
        await wait_all_tasks_blocked()
        await store.send(first, "1", [1])

    assert await heard(store, places, others_first) == {first}
    assert set(await store.listening(places)) == {first}
    places[first] = 2
    assert await heard(store, places, lambda: store.end_inputs(second)) == {second}
    places[second] = 2
    await store.request_cancel(second, None)
    assert await heard(store, places, lambda: store.remove(second)) == {second}
    assert set(await store.listening(places)) == {second}


async def test_listening_to_other_processes(tmp_path: Path) -> None:
    """What another process sends is heard once this one sees that it has written."""
    async with opened(tmp_path / "jobs.db") as store, opened(tmp_path / "jobs.db") as other:
        (job_id,) = await accept(store, make())

        async def send() -> None:
            await other.send(job_id, "1", [1])
            await wait_all_tasks_blocked()
            await look_again(store)

        assert await heard(store, {job_id: 1}, send) == {job_id}


async def test_listening_to_a_store_that_is_closed(tmp_path: Path) -> None:
    """It raises, as every wait does."""
    async with opened(tmp_path / "jobs.db") as store:
        (job_id,) = await accept(store, make())

        async def close() -> None:
            store.close(Reason.SHUTDOWN)

        with pytest.raises(ExceptionGroup) as caught:
            await heard(store, {job_id: 1}, close)
        assert caught.group_contains(trio.ClosedResourceError)


async def test_an_input_comes_with_the_log(store: SqliteStore) -> None:
    """A follower that has all of a log gets the input from what this process wrote."""
    claim = await start(store)
    job_id = claim.submission.id
    assert len(await store.follow(job_id, 0, 9)) == 2

    found: list[Any] = []

    async def follow() -> None:
        found.extend(await store.follow(job_id, 2, 9))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        await store.send(job_id, "1", ["a", "b"])
    assert [(event.seq, event.attempt, event.kind, event.data) for event in found] == [
        (3, 1, Kind.INPUT, "a"),
        (4, 1, Kind.INPUT, "b"),
    ]
    assert await store.append(job_id, 1, Kind.TOKEN, ["x"], 0) == 5


async def test_an_input_reaches_no_page_whole(store: SqliteStore) -> None:
    """Inputs are read by cursor and limit, each with its number."""
    (job_id,) = await accept(store, make())
    await store.send(job_id, "1", [1, 2, 3])
    assert [event.seq for event in await store.inputs(job_id, 2, 1)] == [3]
    assert [event.seq for event in await store.inputs(job_id, 0, 9)] == [2, 3, 4]


async def test_who_uses_none_of_this_pays_nothing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job without inputs, waits and steps takes the statements that it took before there were any."""
    asked: list[str] = []
    for name in ("run", "one"):
        plain = getattr(Transaction, name)

        def noted(tx: Transaction, query: str, /, *, plain: Any = plain, **values: Any) -> Any:
            asked.append(query)
            return plain(tx, query, **values)

        monkeypatch.setattr(Transaction, name, noted)
    (job_id,) = await accept(store, make())
    await store.claim(1, HOLDER)
    await store.append(job_id, 1, Kind.TOKEN, ["x"], 0)
    await store.append(job_id, 1, Kind.SAVED, ["x"], 1, received=0)
    await store.finish(job_id, 1, completed())
    assert asked == [
        *("compat", "count_waiting", "insert_job"),
        *("compat", "due_jobs", "start"),
        *("running", "append"),
        *("running", "append"),
        *("running", "end completed"),
    ]


async def ask(value: int) -> int:
    """Stand in for what a step does."""
    CALLS.append(value)
    return 2 * value


CALLS: list[int] = []


@handler(inputs=int)
async def add(job: JobContext[None]) -> int:
    """Add up inputs; a zero lets it wait without a slot."""
    total: int = await job.step("begin", ask, 5) if job.saved is None else job.saved
    async for value in job.inputs:
        total += value
        await job.save(total)
        if not value:
            raise AwaitInput("more numbers")
    return total


async def test_a_wait_outlives_the_process(tmp_path: Path) -> None:
    """A job that waits for an input goes on in another life, with what was saved and kept before."""
    address = f"sqlite:///{tmp_path}/jobs.db"
    CALLS.clear()
    with trio.fail_after(10):
        async with open_registry(address, handlers=[add]) as jobs:
            handle = await jobs.submit(add)
            await handle.send_many([1, 2, 0])
            async with handle.events() as events:
                async for event in events:
                    if event.kind is Kind.RETRIED:
                        break
            job = await handle.snapshot()
            assert (job.message, job.reason, job.unconsumed) == ("more numbers", Reason.AWAITING_INPUT, 0)
        async with open_registry(address, handlers=[add]) as jobs:
            again = await jobs.get(handle.id)
            await again.send(4)
            await again.end_inputs()
            assert await again.result() == 17
    assert CALLS == [5]
