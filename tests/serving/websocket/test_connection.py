"""One connection, driven in memory: answers, follows, and every way in which it may end."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import store_of
from trio_jobs import JobContext, JobRegistry, handler, open_registry
from trio_jobs.serving.account import Account
from trio_jobs.serving.context import ServerContext
from trio_jobs.serving.limits import Limits
from trio_jobs.serving.net.outgoing import PeerGone
from trio_jobs.serving.operations import JobOperations
from trio_jobs.serving.options import ANYBODY, Caller, ServerOptions
from trio_jobs.serving.websocket.connection import WebSocketConnection, WebSocketHandler


def payload_of(frame: bytes) -> str:
    """Return the text of a server's frame."""
    size = frame[1]
    return frame[{126: 4, 127: 10}.get(size, 2) :].decode()


class Memory(WebSocketConnection):
    """A connection whose other end is the test."""

    def __init__(self, room: float = math.inf) -> None:
        self.to_server, self._arrives = trio.open_memory_channel[str | bytes](math.inf)
        self._leaves, self.from_server = trio.open_memory_channel[str](room)
        self.closed: tuple[int, str] | None = None
        self.ended = False
        self.waiting = False
        self.outlet = self
        self.unsent = Account(1)

    async def receive(self) -> str | bytes:
        try:
            return await self._arrives.receive()
        except trio.EndOfChannel:
            raise PeerGone from None

    async def send(self, text: str) -> None:
        try:
            await self._leaves.send(text)
        except trio.BrokenResourceError:
            raise PeerGone from None

    def send_now(self, frame: bytes) -> bool:
        try:
            self._leaves.send_nowait(payload_of(frame))
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        return True

    async def flush(self) -> None:
        """Do nothing: a frame is taken whole."""

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    # ------------------------------------------------------------ the test's end

    async def say(self, op: str, re: int, **fields: Any) -> None:
        await self.to_server.send(json.dumps({"op": op, "id": re, **fields}))

    async def hear(self) -> Any:
        return json.loads(await self.from_server.receive())

    async def ask(self, op: str, re: int, **fields: Any) -> Any:
        await self.say(op, re, **fields)
        answer = await self.hear()
        assert answer["re"] == re
        return answer


@handler
async def count(job: Any, to: int) -> int:
    for number in range(to):
        await job.send(number)
    return to


@handler
async def hang(job: Any) -> None:
    await trio.sleep_forever()


@handler
async def stay(job: JobContext[None]) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(50)


@asynccontextmanager
async def talking(
    pipe: Memory, *, caller: Caller = ANYBODY, closing: trio.Event | None = None, **limits: Any
) -> AsyncGenerator[JobRegistry]:
    found = Limits(**{"linger": 0.0, **limits})
    closing = trio.Event() if closing is None else closing
    async with open_registry(handlers=[count, hang, stay], window=8) as jobs, trio.open_nursery() as nursery:
        context = attrs.evolve(ServerContext.of(jobs, ServerOptions(limits=found)), closing=closing)
        pipe.unsent = context.operations.account

        async def run() -> None:
            await WebSocketHandler(pipe, context, caller).run()
            pipe.ended = True

        nursery.start_soon(run)
        yield jobs
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_every_operation_is_answered(autojump_clock: MockClock) -> None:
    """Each request has its reply, with its id and its name."""
    pipe = Memory()
    async with talking(pipe):
        job = (await pipe.ask("submit", 1, handler="count", args=[3]))["job"]
        assert (await pipe.ask("wait", 2, job=job["id"]))["job"]["result"] == 3
        assert (await pipe.ask("get", 3, job=job["id"]))["job"]["state"] == "completed"
        assert [one["id"] for one in (await pipe.ask("find", 4))["jobs"]] == [job["id"]]
        history = (await pipe.ask("history", 5, job=job["id"]))["history"]
        assert [event["kind"] for event in history] == ["submitted", "started", "completed"]
        assert (await pipe.ask("cancel", 6, job=job["id"]))["report"]["outcome"] == "already_over"
        assert [one["name"] for one in (await pipe.ask("handlers", 7))["handlers"]] == [
            "count",
            "hang",
            "stay",
        ]
        assert (await pipe.ask("statistics", 8))["statistics"]["states"] == {"completed": 1}
        assert (await pipe.ask("ping", 9))["pong"]
        assert (await pipe.ask("get", 10, job="x"))["error"]["code"] == "unknown_job"


async def test_a_follow(autojump_clock: MockClock) -> None:
    """A follow gives the whole log in order, then its end; from a cursor, the events behind it."""
    pipe = Memory()
    async with talking(pipe):
        job = (await pipe.ask("submit", 1, handler="count", args=[500]))["job"]["id"]
        for after in (0, 200, 503):
            await pipe.say("follow", 2, job=job, after=after)
            seqs: list[int] = []
            while "end" not in (frame := await pipe.hear()):
                seqs += [event["seq"] for event in frame["events"]]
            assert seqs == list(range(after + 1, 504))
        assert (await pipe.ask("follow", 3, job=job, after=504))["error"] == {
            "code": "stream_gap",
            "message": f"events 504 to 504 of job {job} are not in its log; resume with after=503",
            "first": 504,
            "last": 504,
            "oldest": 503,
        }


async def test_a_window_holds_the_sender(autojump_clock: MockClock) -> None:
    """Beyond the window nothing is sent before an ack; a blocking follow holds the handler too."""
    pipe = Memory()
    async with talking(pipe) as jobs:
        jobs.pause()
        job = (await pipe.ask("submit", 1, handler="count", args=[100]))["job"]["id"]
        await pipe.say("follow", 2, job=job, window=4, policy="block")
        await wait_all_tasks_blocked()
        jobs.resume()
        await wait_all_tasks_blocked()
        cursor, seqs = 0, []
        while "end" not in (frame := await pipe.hear()):
            seqs += [event["seq"] for event in frame["events"]]
            assert seqs[-1] - cursor <= 4
            await wait_all_tasks_blocked()
            handle = await jobs.get(job)
            assert (await handle.snapshot()).last_seq <= cursor + 4 + 8 + 1
            if seqs[-1] - cursor == 4:
                with pytest.raises(trio.WouldBlock):
                    pipe.from_server.receive_nowait()
            cursor = seqs[-1]
            await pipe.say("ack", 2, cursor=cursor)
        assert seqs == list(range(1, 104))


@pytest.mark.parametrize("after", [0, 1])
async def test_the_end_needs_no_window(autojump_clock: MockClock, after: int) -> None:
    """The end is sent although the window is full up to the last event."""
    pipe = Memory()
    async with talking(pipe) as jobs:
        jobs.pause()
        job = (await pipe.ask("submit", 1, handler="count", args=[1]))["job"]["id"]
        await pipe.say("follow", 2, job=job, after=after, window=4 - after)
        await wait_all_tasks_blocked()
        jobs.resume()
        seq = 0
        with trio.fail_after(10):
            while "end" not in (frame := await pipe.hear()):
                seq = frame["events"][-1]["seq"]
        assert seq == 4


@pytest.mark.parametrize("op", ["follow", "wait"])
async def test_unfollow(autojump_clock: MockClock, op: str) -> None:
    """A follow or wait that is stopped has a last reply; the job goes on, and the id can be used again."""
    pipe = Memory()
    async with talking(pipe) as jobs:
        job = (await pipe.ask("submit", 1, handler="hang"))["job"]["id"]
        for _ in range(3):
            await pipe.say(op, 2, job=job)
            await wait_all_tasks_blocked()
            await pipe.say("unfollow", 2)
            await pipe.say("unfollow", 2)  # nobody minds
            while "unfollowed" not in (frame := await pipe.hear()):
                assert "events" in frame
        assert (await jobs.statistics()).readers == 0
        assert (await pipe.ask("get", 2, job=job))["job"]["state"] == "running"


async def test_unfollow_while_the_window_is_full(autojump_clock: MockClock) -> None:
    """A follow that waits for an ack can be stopped as well."""
    pipe = Memory()
    async with talking(pipe):
        job = (await pipe.ask("submit", 1, handler="hang"))["job"]["id"]
        await pipe.say("follow", 2, job=job, window=1)
        assert (await pipe.hear())["events"]
        await pipe.say("unfollow", 2)
        assert (await pipe.hear())["unfollowed"]


async def test_unfollow_while_there_is_no_room(autojump_clock: MockClock) -> None:
    """A follow whose next frame waits until other peers take theirs is stopped at once, and sends no more."""
    pipe = Memory(room=0)
    async with talking(pipe) as jobs:
        job = await jobs.submit(hang)
        async with pipe.unsent.room(Limits().all_unsent):
            await pipe.say("follow", 2, job=job.id)
            await wait_all_tasks_blocked()
            await pipe.say("unfollow", 2)
            with trio.fail_after(1):
                assert await pipe.hear() == {"re": 2, "unfollowed": True}
        assert pipe.unsent.used == 0


async def never(*_: object) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("op", ["follow", "wait"])
async def test_unfollow_while_the_store_does_not_answer(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, op: str
) -> None:
    """A follow or wait whose job is not looked up yet can be stopped as well."""
    pipe = Memory()
    async with talking(pipe) as jobs:
        job = await jobs.submit(hang)
        monkeypatch.setattr(store_of(jobs), "get", never)
        await pipe.say(op, 2, job=job.id)
        await wait_all_tasks_blocked()
        await pipe.say("unfollow", 2)
        with trio.fail_after(1):
            assert await pipe.hear() == {"re": 2, "unfollowed": True}


async def test_a_follow_that_is_stopped_while_it_sends(autojump_clock: MockClock) -> None:
    """The frame that was begun is sent, and none behind it."""
    pipe = Memory(room=0)
    async with talking(pipe) as jobs:
        job = await jobs.submit(count, 9)
        await job.wait()
        await pipe.say("follow", 2, job=job.id, window=1)
        await wait_all_tasks_blocked()
        await pipe.say("ack", 2, cursor=1)
        await pipe.say("unfollow", 2)
        await wait_all_tasks_blocked()
        assert [event["seq"] for event in (await pipe.hear())["events"]] == [1]
        assert await pipe.hear() == {"re": 2, "unfollowed": True}


async def test_many_follows_share_a_connection(autojump_clock: MockClock) -> None:
    """Frames of several follows interleave; each is whole, and each follow reaches its end."""
    pipe = Memory()
    async with talking(pipe) as jobs:
        ids = [(await jobs.submit(count, 20 * (n + 1))).id for n in range(5)]
        for n, job in enumerate(ids, 1):
            await pipe.say("follow", n, job=job)
        seqs: dict[int, list[int]] = {n: [] for n in range(1, 6)}
        ended: set[int] = set()
        while len(ended) < 5:
            frame = await pipe.hear()
            assert frame["re"] not in ended
            if "end" in frame:
                ended.add(frame["re"])
            else:
                seqs[frame["re"]] += [event["seq"] for event in frame["events"]]
        assert seqs == {n: list(range(1, 20 * n + 4)) for n in range(1, 6)}


async def test_the_peer_leaves(autojump_clock: MockClock) -> None:
    """When the peer has gone, all its requests end, and the connection is dropped."""
    pipe = Memory()
    async with talking(pipe) as jobs:
        job = (await pipe.ask("submit", 1, handler="hang"))["job"]["id"]
        await pipe.say("follow", 2, job=job)
        await pipe.say("wait", 3, job=job)
        await wait_all_tasks_blocked()
        assert (await jobs.statistics()).readers > 0
        pipe.to_server.close()
        await wait_all_tasks_blocked()
        assert pipe.closed is None
        assert pipe.ended
        assert (await jobs.statistics()).readers == 0
        assert (await jobs.statistics()).running == 1


async def test_the_peer_leaves_in_the_middle_of_a_frame(autojump_clock: MockClock) -> None:
    """A frame that the peer does not take ends the connection too."""
    pipe = Memory(room=0)
    async with talking(pipe):
        await pipe.say("handlers", 1)
        await wait_all_tasks_blocked()
        pipe.from_server.close()
        await wait_all_tasks_blocked()
        assert pipe.closed is None
        assert pipe.ended


async def test_the_server_stops(autojump_clock: MockClock) -> None:
    """When the server stops, it closes with 1001, and the jobs go on."""
    pipe, closing = Memory(), trio.Event()
    async with talking(pipe, closing=closing) as jobs:
        job = (await pipe.ask("submit", 1, handler="hang"))["job"]["id"]
        await pipe.say("follow", 2, job=job)
        await wait_all_tasks_blocked()
        closing.set()
        await wait_all_tasks_blocked()
        assert pipe.closed is not None
        assert pipe.closed[0] == 1001
        assert (await jobs.statistics()).running == 1


async def test_the_server_stops_in_the_middle_of_a_frame(autojump_clock: MockClock) -> None:
    """After half a frame there can be no close frame: the connection is dropped."""
    pipe, closing = Memory(room=0), trio.Event()
    async with talking(pipe, closing=closing):
        await pipe.say("handlers", 1)
        await wait_all_tasks_blocked()
        closing.set()
        await wait_all_tasks_blocked()
        assert pipe.closed is None
        assert pipe.ended


async def test_a_caller_expires(autojump_clock: MockClock) -> None:
    """An authentication that expires closes the connection with 1008, even if it is busy."""
    pipe = Memory()
    async with talking(pipe, caller=Caller("ann", expires=60)):
        assert (await pipe.ask("ping", 1))["pong"]
        await trio.sleep(61)
        assert pipe.closed is not None
        assert pipe.closed[0] == 1008


@pytest.mark.parametrize(("message", "code"), [(b"{}", 1003), ("x" * 2000, 1009)])
async def test_messages_that_end_it(autojump_clock: MockClock, message: Any, code: int) -> None:
    """The connection is closed with the code that the session gives."""
    pipe = Memory()
    async with talking(pipe, message=1024):
        await pipe.to_server.send(message)
        await wait_all_tasks_blocked()
        assert pipe.closed is not None
        assert pipe.closed[0] == code


async def test_a_fault_of_ours_ends_one_request(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error is logged, and sent as `internal`; the connection stays."""

    async def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(JobOperations, "get", broken)
    pipe = Memory()
    with caplog.at_level(logging.ERROR, "trio_jobs.serving"):
        async with talking(pipe):
            for op in ("get", "follow"):
                error = (await pipe.ask(op, 1, job="x"))["error"]
                assert error["code"] == "internal"
                assert "secret" not in error["message"]
            assert (await pipe.ask("ping", 2))["pong"]
    assert [record.message for record in caplog.records] == ["a request failed"] * 2


async def test_a_fault_of_ours_outside_of_requests_ends_the_connection(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Any other error closes this connection with 1011, and is not raised."""
    pipe = Memory()

    async def broken() -> str:
        raise KeyError("secret")

    monkeypatch.setattr(pipe, "receive", broken)
    async with talking(pipe):
        await wait_all_tasks_blocked()
    assert pipe.closed == (1011, "internal error")
    assert [record.message for record in caplog.records] == ["a connection failed"]


async def test_an_id_may_be_used_again_while_its_last_frame_waits(autojump_clock: MockClock) -> None:
    """The end of a follow frees its id at once: a new follow with that id is a separate one."""
    pipe = Memory(room=0)
    async with talking(pipe) as jobs:
        done = await jobs.submit(count, 0)
        await done.wait()
        alive = await jobs.submit(hang)
        await pipe.say("follow", 1, job=done.id, after=3)
        await wait_all_tasks_blocked()  # its end waits to be taken
        await pipe.say("follow", 1, job=alive.id, after=2)
        await wait_all_tasks_blocked()
        assert "end" in await pipe.hear()
        await wait_all_tasks_blocked()
        await pipe.say("unfollow", 1)
        assert await pipe.hear() == {"re": 1, "unfollowed": True}


async def test_who_takes_nothing_has_no_more_calls_open_than_there_may_be(autojump_clock: MockClock) -> None:
    """Answers that wait to be sent are open calls, as are those not made yet."""
    pipe = Memory(room=0)
    async with talking(pipe, calls=3) as jobs:
        many = [await jobs.submit(stay) for _ in range(5)]
        await wait_all_tasks_blocked()
        await pipe.say("get", 1, job=many[0].id)
        await pipe.say("get", 2, job=many[0].id)
        await wait_all_tasks_blocked()
        for re, job in enumerate(many, 3):
            await pipe.say("cancel", re, job=job.id, patience=100)
        await wait_all_tasks_blocked()
        begun = [await asked_to_end(many)]
        await pipe.hear()
        await wait_all_tasks_blocked()
        begun.append(await asked_to_end(many))
    assert begun == [1, 2]


async def asked_to_end(jobs: list[Any]) -> int:
    """Return how many of some jobs were cancelled."""
    return sum([(await job.snapshot()).cancel_requested_at is not None for job in jobs])
