"""Answers: each is bounded, continues where it was cut, and waits for room."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.serving.websocket.test_connection import Memory
from tests.wire import LARGE, AnyRequest, BadRequest, Find, Get, GetValue, History, List, Submit, Wait
from trio_jobs import InvalidPayload, Job, JobContext, JobRegistry, Page, handler, open_registry
from trio_jobs.serving.access import AccessControl
from trio_jobs.serving.account import Account
from trio_jobs.serving.answers import answering
from trio_jobs.serving.context import ServerContext
from trio_jobs.serving.health import Health
from trio_jobs.serving.limits import Limits
from trio_jobs.serving.operations import JobOperations
from trio_jobs.serving.options import ANYBODY, Caller, ServerOptions
from trio_jobs.serving.problems import Refused
from trio_jobs.serving.values import PIECE
from trio_jobs.serving.websocket.connection import WebSocketHandler

MOST = 512 * 1024
JUST_SMALL = "x" * (LARGE - 2)  # with its quotes, as large as an answer may hold


@handler
async def keep(job: JobContext[str], *saved: str) -> str:
    """Save values, and return the last one."""
    for value in saved:
        await job.save(value)
    return saved[-1] if saved else ""


@handler
async def hang(job: JobContext[str], *_: object, **__: object) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def opened(**limits: Any) -> AsyncGenerator[tuple[JobRegistry, JobOperations]]:
    async with open_registry(handlers=[keep, hang]) as jobs:
        yield jobs, JobOperations(jobs, ServerOptions(limits=Limits(**limits)))


async def answer(operations: JobOperations, request: AnyRequest, caller: Caller = ANYBODY) -> dict[str, Any]:
    async with answering(operations, caller, operations.account, request) as fields:
        assert operations.account.used == sum(map(len, fields.values()))
        found = {name: json.loads(text) for name, text in fields.items()}
    assert operations.account.used == 0
    return found


async def value(operations: JobOperations, job: str, field: Any, seq: int) -> Any:
    """Read a value piece by piece."""
    texts, offset = list[str](), 0
    while offset is not None:
        found = await answer(operations, GetValue(1, job, field, seq, offset))
        assert len(found["text"].encode()) <= PIECE
        texts.append(found["text"])
        offset = found["next"]
    return json.loads("".join(texts))


# ------------------------------------------------------------ lists


async def test_a_list_has_pages(autojump_clock: MockClock) -> None:
    """The pages together have each job once, in order; each is bounded in bytes, whatever the jobs hold."""
    tags = {str(n): "t" * 500 for n in range(20)}
    async with opened() as (jobs, operations):
        ids = [(await jobs.submit(keep, JUST_SMALL, tags=tags)).id for _ in range(70)]
        found, cursor, pages = list[str](), None, 0
        while cursor is not None or not pages:
            page = await answer(operations, List(1, limit=1000, cursor=cursor))
            assert len(json.dumps(page)) < MOST + 64 * 1024
            found += [job["id"] for job in page["jobs"]]
            assert not {"result", "saved", "metadata"} & page["jobs"][0].keys()
            cursor, pages = page["next"], pages + 1
        assert found == ids
        assert pages > 1
        newest = await answer(operations, List(1, limit=1, newest=True))
        assert [job["id"] for job in newest["jobs"]] == ids[-1:]


async def test_a_cursor_of_somebodys_own_making(autojump_clock: MockClock) -> None:
    """A cursor that no page has given is a bad request."""
    async with opened() as (_, operations):
        with pytest.raises(BadRequest, match="got 'x'"):
            await answer(operations, List(1, cursor="x"))


async def test_whole_jobs_are_cut(autojump_clock: MockClock) -> None:
    """A list of whole jobs ends before the answer is too large; a job too large alone has no values."""
    async with opened() as (jobs, operations):
        ids = [(await jobs.submit(keep, "x" * 100_000)).id for _ in range(9)]
        for job_id in ids:
            await (await jobs.get(job_id)).wait()
        found = (await answer(operations, Find(1)))["jobs"]
        assert [job["id"] for job in found] == ids[: len(found)]
        assert 1 < len(found) < 4  # result and saved
        assert found[0]["result"] == "x" * 100_000
        for size in (MOST, 9 * MOST):
            large = await jobs.submit(keep, "x" * size)
            await large.wait()
            (job, other) = (await answer(operations, Find(1, newest=True, limit=2)))["jobs"]
            assert (job["id"], job["result"], job["saved"]) == (large.id, None, None)
            assert job["message"] == "it is too large for a list; look it up by its id"
            assert other is not None


async def test_jobs_of_the_version_before(autojump_clock: MockClock) -> None:
    """`find` gives what it gave in the version before: each field of a job, and up to the limit of jobs."""
    async with opened() as (jobs, operations):
        for number in range(3):
            await (await jobs.submit(keep, str(number))).wait()
        found = (await answer(operations, Find(1, limit=2, newest=True)))["jobs"]
        assert [job["result"] for job in found] == ["2", "1"]
        assert {field.name for field in attrs.fields(Job)} == found[0].keys()
        await jobs.remove(found[0]["id"])
        assert [job["result"] for job in (await answer(operations, Find(1)))["jobs"]] == ["0", "1"]


async def test_arguments_that_json_cannot_hold(autojump_clock: MockClock) -> None:
    """A job in memory is shown whatever its arguments: null in their place, and text in lists."""
    async with opened() as (jobs, operations):
        given: Any = [object, {1: "\ud800"}, {"a"}]
        handles = [await jobs.submit(hang, one) for one in given]
        found = [(await answer(operations, Get(1, handle.id)))["job"]["args"] for handle in handles]
        assert found == [None, None, [["a"]]]
        listed = (await answer(operations, List(1)))["jobs"]
        assert [job["args_text"] for job in listed] == ["[\"<class 'object'>\"]", None, "[\"{'a'}\"]"]
        with pytest.raises(
            InvalidPayload, match=f"the arguments of job {handles[0].id} cannot be kept as JSON"
        ):
            await value(operations, handles[0].id, "args", 1)


async def test_arguments_by_name(autojump_clock: MockClock) -> None:
    """They are told, null if JSON cannot hold them, left out if they are large, and read by themselves."""
    async with opened() as (jobs, operations):
        given: Any = [{"a": 1}, {"a": object}, {"a": "x" * 100_000}, {}]
        handles = [await jobs.submit(hang, kwargs=kwargs) for kwargs in given]
        found = [(await answer(operations, Get(1, handle.id)))["job"] for handle in handles]
        assert [job.get("kwargs", "large") for job in found] == [{"a": 1}, None, "large", {}]
        assert found[2]["large"] == {"kwargs": len('{"a":""}') + 100_000}
        assert await value(operations, handles[2].id, "kwargs", 0) == given[2]
        listed = (await answer(operations, List(1)))["jobs"]
        assert listed[0]["args_text"] == '{"args":[],"kwargs":{"a":1}}'
        made = await answer(operations, Submit(1, "hang", [2], {"a": 3}))
        assert (made["job"]["args"], made["job"]["kwargs"]) == ([2], {"a": 3})
        with pytest.raises(InvalidPayload, match="unexpected keyword argument 'a'"):
            await answer(operations, Submit(1, "keep", ["b"], {"a": 3}))


# ------------------------------------------------------------ large values


@pytest.mark.parametrize("name", ["result", "saved", "metadata", "args"])
async def test_what_is_large_is_left_out(autojump_clock: MockClock, name: str) -> None:
    """A value of more than a mebibyte (arguments: 64 KiB) is left out, and equal when read in pieces."""
    large = '"é\x01' * (LARGE // 4)
    metadata = {"text": large} if name == "metadata" else {}
    async with opened() as (jobs, operations):
        handle = await jobs.submit(keep, JUST_SMALL if name == "metadata" else large, metadata=metadata)
        whole = await handle.wait()
        found = (await answer(operations, Get(1, handle.id)))["job"]
        size = len(json.dumps(getattr(whole, name), ensure_ascii=False, separators=(",", ":")).encode())
        assert found["large"][name] == size
        assert name not in found
        wanted = [large] if name == "args" else getattr(whole, name)
        assert await value(operations, handle.id, name, found["last_seq"]) == wanted
        if name == "metadata":  # the others are not
            assert (found["result"], found["large"].keys()) == (JUST_SMALL, {"metadata", "args"})
        assert (await answer(operations, Wait(1, handle.id)))["job"] == found


async def test_a_value_is_as_it_was(autojump_clock: MockClock) -> None:
    """`saved` has its value at a cursor, whatever was saved since; if that is lost, it is refused."""
    async with opened() as (jobs, operations):
        handle = await jobs.submit(keep, "one", "two")
        await handle.wait()
        seen = [await value(operations, handle.id, "saved", seq) for seq in (3, 4, 5)]
        assert seen == ["one", "two", "two"]
        with pytest.raises(Refused):
            await value(operations, handle.id, "saved", 2)
        empty = await jobs.submit(keep)
        await empty.wait()
        assert await value(operations, empty.id, "saved", 2) is None
        assert await value(operations, handle.id, "result", 5) == "two"
        assert [await value(operations, handle.id, "data", seq) for seq in (1, 3)] == ["keep", "one"]


async def test_what_is_not_kept_has_changed(autojump_clock: MockClock) -> None:
    """The data of a missing event is refused, with another code than an event without data."""
    async with opened() as (jobs, operations):
        handle = await jobs.submit(keep)
        await handle.wait()
        for seq in (0, 9):
            with pytest.raises(Refused) as refused:
                await value(operations, handle.id, "data", seq)
            assert refused.value.code == "changed"


@pytest.mark.parametrize("offset", [2, 9999])
async def test_where_no_piece_begins(autojump_clock: MockClock, offset: int) -> None:
    """An offset within a character, or beyond the end, is a bad request."""
    async with opened() as (jobs, operations):
        handle = await jobs.submit(keep, "é")
        await handle.wait()
        with pytest.raises(BadRequest, match=f"offset {offset}"):
            await answer(operations, GetValue(1, handle.id, "result", 4, offset))


async def test_a_value_is_made_once_for_all_who_read_it(autojump_clock: MockClock) -> None:
    """Pieces for two readers are of one encoding, until one has read the end; others get none."""
    large = "x" * (3 * PIECE)
    async with opened() as (jobs, operations):
        handle = await jobs.submit(keep, large, owner="ann")
        await handle.wait()
        first = await operations.value(Caller("ann"), GetValue(1, handle.id, "result", 4))
        assert await operations.value(ANYBODY, GetValue(1, handle.id, "result", 4, PIECE)) is first
        with pytest.raises(Exception, match="no job"):
            await operations.value(Caller("bob"), GetValue(1, handle.id, "result", 4))
        assert await value(operations, handle.id, "result", 4) == large
        assert await operations.value(ANYBODY, GetValue(1, handle.id, "result", 4)) is not first


# ------------------------------------------------------------ histories


async def test_a_history_has_pages(autojump_clock: MockClock) -> None:
    """The pages together have each event once, in order; large data can be read by itself."""
    texts = ["x" * 300_000] * 5 + ["y" * LARGE]
    async with opened() as (jobs, operations):
        handle = await jobs.submit(keep, *texts)
        found, after, pages = list[Any](), 0, 0
        await handle.wait()
        whole = await handle.history()
        while after is not None:
            page = await answer(operations, History(1, handle.id, after))
            assert len(json.dumps(page)) < MOST + LARGE
            found += page["history"]
            after, pages = page["next"], pages + 1
        assert pages > 2
        assert [event["seq"] for event in found] == [event.seq for event in whole]
        assert [event["data"] for event in found[2:7]] == texts[:5]
        for event in found[7:9]:
            assert event["large"] == LARGE + 2
            assert "data" not in event
            assert await value(operations, handle.id, "data", event["seq"]) == texts[-1]


# ------------------------------------------------------------ room


@asynccontextmanager
async def greedy(requests: list[dict[str, Any]], context: ServerContext) -> AsyncGenerator[Memory]:
    """A peer that sends all these requests, and reads nothing."""
    pipe = Memory(room=0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(WebSocketHandler(pipe, context, ANYBODY).run)
        for number, request in enumerate(requests, 1):
            await pipe.to_server.send(json.dumps({"id": number, **request}))
        await wait_all_tasks_blocked()
        yield pipe
        nursery.cancel_scope.cancel()


class Counted(JobOperations):
    """Counts the searches."""

    searches = 0

    async def find(self, caller: Caller, wanted: List | Find, after: str | None) -> Page:
        self.searches += 1
        return await super().find(caller, wanted, after)


@pytest.mark.parametrize("op", ["find", "list", "history", "get", "wait", "submit", "follow"])
async def test_who_takes_nothing_costs_no_more_than_its_account(autojump_clock: MockClock, op: str) -> None:
    """Beyond its account, requests of a peer that does not read are not carried out; others are served."""
    limits = Limits()
    metadata = {"x": "x" * 250_000}
    async with open_registry(handlers=[keep, hang]) as jobs:
        options = ServerOptions(limits=limits)
        operations = Counted(jobs, options)
        context = ServerContext(options, AccessControl(options), operations, Health(jobs))
        ids = [
            (await jobs.submit(keep, "x" * 900_000, "y", metadata=metadata, key=str(n))).id
            for n in range(110)
        ]
        for job_id in ids:
            await (await jobs.get(job_id)).wait()
        asked: dict[str, Any] = {"op": op}
        if op in {"find", "list"}:
            asked["limit"] = 300
        elif op == "submit":
            asked |= {"handler": "keep", "args": [], "options": {"metadata": {"x": "x" * 200_000}}}
        else:
            asked["job"] = ids[0]
        async with greedy([asked] * 32, context):
            assert 0 < operations.account.used <= limits.unsent
            if op == "find":
                assert operations.searches < 10
            other = Memory()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(WebSocketHandler(other, context, ANYBODY).run)
                assert len((await other.ask("list", 1))["jobs"]) == 100
                nursery.cancel_scope.cancel()
        assert operations.account.used == 0  # and nothing is left of one that has gone


async def test_all_together_cost_no_more_than_the_servers_account(autojump_clock: MockClock) -> None:
    """Peers that do not read share the server's account; a later one waits until one leaves."""
    limits = Limits(all_unsent=2**20)
    async with open_registry(handlers=[keep]) as jobs:
        context = ServerContext.of(jobs, ServerOptions(limits=limits))
        operations = context.operations
        handle = await jobs.submit(keep, "x" * 600_000, metadata={"x": "x"})
        await handle.wait()
        asked = {"op": "history", "job": handle.id}
        async with AsyncExitStack() as peers:
            first = await peers.enter_async_context(greedy([asked] * 2, context))
            account = Account(limits.unsent, operations.account)
            arrived = trio.Event()

            async def late() -> None:
                async with answering(operations, ANYBODY, account, History(1, handle.id)):
                    arrived.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(late)
                await wait_all_tasks_blocked()
                assert not arrived.is_set()
                await first.to_server.aclose()
                await arrived.wait()


async def test_a_submit_is_done_within_its_room(autojump_clock: MockClock) -> None:
    """Without room a job is not submitted; with it, it is, and the answer is the whole job."""
    async with opened(all_unsent=2**20) as (jobs, operations):
        async with operations.account.room(2**20):
            with trio.move_on_after(1) as waited:
                await answer(operations, Submit(1, "keep"))
            assert waited.cancelled_caught
            assert await jobs.count() == 0
        found = await answer(operations, Submit(1, "keep", ["x"]))
        assert found["job"]["handler"] == "keep"
