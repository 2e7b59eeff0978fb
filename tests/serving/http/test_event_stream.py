"""A job's log as an event stream: complete, resumed, live, and with every kind of end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.serving.served import EventStream, Sent, Site, follow, parse, served
from trio_jobs import JobContext, Retention, handler
from trio_jobs.serving import Caller, Limits
from trio_jobs.serving.feed import Feed
from trio_jobs.serving.operations import JobOperations
from trio_jobs.serving.sse import PING
from trio_jobs.serving.store_operations import StoreOperations

HEAD = "HEAD {} HTTP/1.1"


class Permits:
    """A handler that sends the values that it is given, and returns when there is no more."""

    def __init__(self) -> None:
        self.give, take = trio.open_memory_channel[Any](math.inf)

        @handler
        async def permitted(job: JobContext[Any]) -> str:
            async for value in take:
                await job.send(value)
            return "done"

        self.handler = permitted


async def ended(site: Site, job_id: str) -> None:
    await (await site.jobs.get(job_id)).wait()


async def until(stream: EventStream, event: str) -> Sent:
    """Read up to an event of a name."""
    while (found := await stream.next()) is not None and found.event != event:
        pass
    assert found is not None, f"ended without {event}"
    return found


async def nobody_reads(site: Site) -> None:
    """Wait until no stream is open in the registry; fail when the site's time is over."""
    while (await site.jobs.statistics()).readers:
        await trio.lowlevel.checkpoint()


async def test_the_whole_log() -> None:
    """Every event of a job arrives in order, with its kind as its name and its cursor as its id."""
    async with served() as site:
        job_id = await site.submit("count", 3)
        stream = await follow(site, f"/v1/jobs/{job_id}/stream")
        assert stream.head.status == 200
        assert stream.head.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.head.headers["cache-control"] == "no-store"
        assert stream.head.headers["x-accel-buffering"] == "no"
        assert await stream.all() == [
            Sent("1", "submitted", '"count"'),
            Sent("2", "started", '"worker"'),
            Sent("3", "token", "0"),
            Sent("4", "token", "1"),
            Sent("5", "token", "2"),
            Sent("6", "completed", "[DONE]"),
        ]


async def test_how_other_jobs_end() -> None:
    """A failed job ends with its error's text, a cancelled one with that word; no traceback."""
    async with served() as site:
        for name, args, end in (
            ("fail", ["no\n\nevent: forged"], ("failed", "[ERROR] no\n\nevent: forged")),
            ("hang", [], ("cancelled", "[CANCELLED]")),
        ):
            job_id = await site.submit(name, *args)
            if name == "hang":
                await site.http.delete(f"/v1/jobs/{job_id}")
            text = (await site.http.get(f"/v1/jobs/{job_id}/stream")).text
            heard = parse(text)
            assert (heard[-1].event, heard[-1].data) == end
            assert "Traceback" not in text


@pytest.mark.parametrize("after", range(7))
async def test_a_stream_is_resumed_behind_a_cursor(after: int) -> None:
    """Exactly the events behind the cursor arrive, however it is given; `Last-Event-ID` has precedence."""
    async with served() as site:
        job_id = await site.submit("count", 3)
        await ended(site, job_id)
        path = f"/v1/jobs/{job_id}/stream"
        for url, headers in (
            (path, {"last-event-id": str(after)}),
            (f"{path}?after={after}", {}),
            (f"{path}?after=1", {"last-event-id": str(after)}),
        ):
            answer = await site.http.get(url, headers=headers)
            if after == 6:
                assert (answer.status_code, answer.content) == (204, b"")
            else:
                assert [int(one.id) for one in parse(answer.text)] == list(range(after + 1, 7))


async def test_a_cursor_that_is_ahead() -> None:
    """A cursor beyond the log is a conflict with a cursor to resume from; a wrong one is refused."""
    async with served() as site:
        job_id = await site.submit("count", 1)
        await ended(site, job_id)
        answer = await site.http.get(f"/v1/jobs/{job_id}/stream?after=9")
        assert (answer.status_code, answer.json()["code"]) == (409, "stream_gap")
        assert {name: answer.json()[name] for name in ("first", "last", "oldest")} == {
            "first": 5,
            "last": 9,
            "oldest": 4,
        }
        answer = await site.http.get(f"/v1/jobs/{job_id}/stream", headers={"last-event-id": "x"})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_events_come_as_they_happen() -> None:
    """Each event arrives before the next one is made, for each of several readers."""
    permits = Permits()
    async with served([permits.handler]) as site:
        job_id = await site.submit("permitted")
        streams = [await follow(site, f"/v1/jobs/{job_id}/stream") for _ in range(3)]
        for number in range(5):
            permits.give.send_nowait(number)
            for stream in streams:
                assert (await until(stream, "token")).value == number
        permits.give.close()
        for stream in streams:
            assert (await until(stream, "completed")).data == "[DONE]"
            assert await stream.next() is None
        await nobody_reads(site)


async def test_a_gap_is_told() -> None:
    """A reader gets the first and the last of the missing events, and then those behind them."""
    async with served(registry={"retention": Retention(events=2)}) as site:
        job_id = await site.submit("count", 50)
        await ended(site, job_id)
        heard = parse((await site.http.get(f"/v1/jobs/{job_id}/stream")).text)
        assert [one.event for one in heard] == ["submitted", "started", "gap", "token", "token", "completed"]
        assert heard[2].value == {"first": 3, "last": int(heard[2].id)}
        assert int(heard[3].id) == int(heard[2].id) + 1


async def test_a_value_that_json_cannot_hold() -> None:
    """The events before such a value are sent, then an error, and the stream ends."""
    permits = Permits()
    async with served([permits.handler]) as site:
        for value in (1, object(), 2):
            permits.give.send_nowait(value)
        permits.give.close()
        job_id = await site.submit("permitted")
        await ended(site, job_id)
        for after in (0, 3):
            heard = parse((await site.http.get(f"/v1/jobs/{job_id}/stream?after={after}")).text)
            assert (heard[-1].event, heard[-1].id) == ("problem", "3")
            assert "event 4" in heard[-1].data
            assert [one.event for one in heard[:-1]] == ([] if after else ["submitted", "started", "token"])
        heard = parse((await site.http.get(f"/v1/jobs/{job_id}/stream?after=4")).text)
        assert [one.event for one in heard] == ["token", "completed"]


async def test_a_silent_stream_is_kept_awake() -> None:
    """While there is no event, a comment is sent from time to time, which is no event."""
    async with served(limits=Limits(ping=0.02)) as site:
        job_id = await site.submit("hang")
        stream = await follow(site, f"/v1/jobs/{job_id}/stream")
        assert (await stream.block() or "").startswith("retry: ")
        await until(stream, "token")
        assert await stream.block() == await stream.block() == PING.decode()


async def test_head_reads_nothing() -> None:
    """`HEAD` has the headers of a stream, no body, and no reader; the connection can be used again."""
    async with served() as site:
        job_id = await site.submit("hang")
        wire = await site.connect()
        await wire.say(HEAD.format(f"/v1/jobs/{job_id}/stream"))
        head = await wire.head()
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        await nobody_reads(site)
        await wire.say("GET /healthz HTTP/1.1")
        assert (await wire.answer()).body == b"ok\n"


@pytest.mark.parametrize("name", ["count", "hang"])
async def test_connection_close_closes(name: str) -> None:
    """With `Connection: close` the socket is closed at the end of the log, or when the server stops."""
    async with served() as site:
        job_id = await site.submit(name, *([2] if name == "count" else []))
        stream = await follow(site, f"/v1/jobs/{job_id}/stream", "Connection: close")
        await until(stream, "token")
        if name == "hang":
            site.stop()
        rest = await stream.all()
        assert [one.data for one in rest if one.event == "completed"] == (
            ["[DONE]"] if name == "count" else []
        )
        assert await stream.wire.rest() == b""


async def test_a_connection_is_good_for_more_streams() -> None:
    """After the end of a log the same connection takes the next request."""
    async with served() as site:
        job_id = await site.submit("count", 2)
        wire = await site.connect()
        for _ in range(3):
            await wire.say(f"GET /v1/jobs/{job_id}/stream HTTP/1.1")
            stream = EventStream(wire, await wire.head())
            assert (await stream.all())[-1].event == "completed"


async def test_a_server_that_stops_ends_the_streams() -> None:
    """Streams end in order, without a terminal event, so that browsers reconnect; the job goes on."""
    async with served() as site:
        job_id = await site.submit("hang")
        streams = [await follow(site, f"/v1/jobs/{job_id}/stream") for _ in range(3)]
        for stream in streams:
            await until(stream, "token")
        site.stop()
        for stream in streams:
            assert await stream.all() == []
            assert await stream.wire.rest() == b""
        await site.stopped.wait()
        assert (await (await site.jobs.get(job_id)).snapshot()).state == "running"


async def test_a_callers_authentication_expires() -> None:
    """A stream ends when its caller's authentication expires, with the events until then."""
    expired: list[float] = [0.05, math.inf]

    async def briefly(headers: Mapping[str, str]) -> Caller | None:
        return Caller(None, expires=expired.pop(0) if "x-stream" in headers else None)

    async with served(authenticate=briefly) as site:
        job_id = await site.submit("hang")
        short = await follow(site, f"/v1/jobs/{job_id}/stream", "X-Stream: 1")
        long = await follow(site, f"/v1/jobs/{job_id}/stream", "X-Stream: 1")
        assert [one.event for one in await short.all()] == ["submitted", "started", "token"]
        await until(long, "token")
        assert (await site.jobs.statistics()).readers > 0


async def test_a_client_that_leaves() -> None:
    """When a client leaves, its stream ends, and makes room; nothing is logged."""
    async with served(limits=Limits(per_client=2)) as site:
        job_id = await site.submit("hang")
        for _ in range(5):
            stream = await follow(site, f"/v1/jobs/{job_id}/stream")
            assert stream.head.status == 200
            await until(stream, "token")
            await stream.wire.stream.aclose()
            await nobody_reads(site)


@pytest.mark.parametrize("path", ["jobs/{}/stream", "jobs/{}/result", "jobs/{}/history/1", "metrics"])
async def test_a_client_that_leaves_before_the_store_has_answered(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """What it asked for is given up at once, so its place is free."""
    asked, given_up = trio.Event(), trio.Event()

    async def never(*_: Any) -> Any:
        asked.set()
        try:
            await trio.sleep_forever()
        finally:
            given_up.set()

    async with served() as site:
        job_id = await site.submit("hang")
        for kind, name in ((JobOperations, "get"), (JobOperations, "value"), (StoreOperations, "metrics")):
            monkeypatch.setattr(kind, name, never)
        wire = await site.connect()
        await wire.say(f"GET /v1/{path.format(job_id)} HTTP/1.1")
        await asked.wait()
        await wire.stream.aclose()
        await given_up.wait()


async def test_a_blocking_reader_holds_its_handler() -> None:
    """With `policy=block` the handler is at most a window ahead, and goes on as the stream is read."""
    size, many = 100_000, 200
    done = trio.Event()

    @handler
    async def flood(job: JobContext[str]) -> None:
        for _ in range(many):
            await job.send("x" * size)
        done.set()

    async with served([flood], registry={"window": 4}) as site:
        site.jobs.pause()
        job_id = await site.submit("flood")
        stream = await follow(site, f"/v1/jobs/{job_id}/stream?policy=block")
        await until(stream, "submitted")
        site.jobs.resume()
        await wait_all_tasks_blocked(0.02)  # the socket is full, and nobody reads
        assert not done.is_set()
        heard = await stream.all()
        assert [one.event for one in heard].count("token") == many
        assert done.is_set()


async def test_a_mistake_within_a_stream(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error ends the stream without details; it is logged."""

    async def broken(*_: Any) -> Any:
        raise RuntimeError("the secret")

    async with served() as site:
        job_id = await site.submit("hang")
        monkeypatch.setattr(Feed, "next", broken)
        text = (await site.http.get(f"/v1/jobs/{job_id}/stream")).text
        assert parse(text) == [Sent("0", "problem", "internal error")]
        (record,) = caplog.records
        assert record.exc_info is not None
        assert "the secret" in str(record.exc_info[1])


async def test_many_events_in_one_write() -> None:
    """Existing events are sent in few writes, not one write each."""
    async with served() as site:
        job_id = await site.submit("count", 2000)
        await ended(site, job_id)
        wire = await site.connect()
        await wire.say(f"GET /v1/jobs/{job_id}/stream HTTP/1.1")
        await wire.head()
        writes = 0
        while size := int((await wire.until(b"\r\n")).strip(), 16):
            await wire.some(size + 2)
            writes += 1
        assert writes < 50
