"""The log as a stream of Durable Streams: its own client on Node.js, and what each answer says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.serving.fronts.node import needs, run
from tests.serving.proxy import Weather, open_proxy
from tests.serving.served import Site, count, fail, follow, served
from trio_jobs import JobContext, Retention, handler
from trio_jobs.serving import Caller, durable_streams_front

FRONTS: dict[str, Any] = {"fronts": [durable_streams_front]}
LAST = 9  # of a job that counts to six: it is submitted, starts, counts, and completes
MANY = 1500  # events, of which a connection carries a part; a page of 256 fits in a connection
TEXT = "two\u2028lines"
STATE = ("stream-next-offset", "stream-up-to-date", "stream-closed")


class Paced:
    """A handler that sends a number whenever it may."""

    def __init__(self) -> None:
        self.give, self._take = trio.open_memory_channel[int](100)

        @handler
        async def paced(job: JobContext[int]) -> None:
            async for number in self._take:
                await job.send(number)

        self.handler = paced


async def ended(site: Site, *args: Any, name: str = "count") -> str:
    """Return the id of a job that has ended."""
    job_id = await site.submit(name, *args)
    await (await site.jobs.get(job_id)).wait()
    return job_id


def state_of(headers: Mapping[str, str]) -> tuple[str | None, ...]:
    """Return what headers say of the state of a stream."""
    return tuple(headers.get(name) for name in STATE)


async def test_a_log_is_read_from_an_offset() -> None:
    """All of it, what is behind an offset, and nothing at its end; each answer says where to go on."""
    async with served([count], **FRONTS) as site:
        path = f"/v1/streams/{await ended(site, 6)}"
        tail = "0000000000000009"
        for offset, first in (("", 1), ("?offset=-1", 1), ("?offset=0000000000000003", 4)):
            answer = await site.http.get(path + offset)
            assert answer.headers["content-type"] == "application/json"
            assert [one["seq"] for one in answer.json()] == list(range(first, LAST + 1))
            assert state_of(answer.headers) == (tail, "true", "true")
        for offset in (tail, "now"):
            answer = await site.http.get(f"{path}?offset={offset}")
            assert (answer.json(), state_of(answer.headers)) == ([], (tail, "true", "true"))
            answer = await site.http.get(f"{path}?offset={offset}&live=long-poll")
            assert (answer.status_code, answer.content) == (204, b"")
            assert state_of(answer.headers) == (tail, "true", "true")
            answer = await site.http.get(f"{path}?offset={offset}&live=sse")
            assert answer.text.startswith("event: control\n")
            assert '"streamClosed":true' in answer.text
        for query in ("", "?live=long-poll", "?live=sse&offset=3"):
            answer = await site.http.head(path + query)
            assert (answer.content, state_of(answer.headers)) == (b"", (tail, "true", "true"))


async def test_what_a_client_has_already_is_not_sent_again() -> None:
    """The tag of an answer says that it would be the same; it is another one when the log has grown."""
    paced = Paced()
    async with served([paced.handler], **FRONTS) as site:
        job_id = await site.submit("paced")
        path = f"/v1/streams/{job_id}"
        while (first := await site.http.get(path)).headers["stream-next-offset"] != "0000000000000002":
            await trio.lowlevel.checkpoint()
        has = {"if-none-match": first.headers["etag"]}
        same = await site.http.get(path, headers=has)
        assert (same.status_code, same.content) == (304, b"")
        assert state_of(same.headers) == state_of(first.headers)
        paced.give.close()
        await (await site.jobs.get(job_id)).wait()
        grown = await site.http.get(path, headers=has)
        assert (grown.status_code, grown.headers["stream-closed"]) == (200, "true")
        assert grown.headers["etag"] != first.headers["etag"]
        cursors = [int(one.headers["stream-cursor"]) for one in (first, same, grown)]
        assert cursors == sorted(set(cursors)), "a cursor is larger than the one before"


async def test_a_long_log_is_read_in_pages() -> None:
    """An answer that does not reach the end says neither that it does nor that the stream is closed."""
    async with served([count], **FRONTS) as site:
        path = f"/v1/streams/{await ended(site, 600)}"
        found: list[int] = []
        offset, pages = "-1", 0
        while len(found) < 603:
            answer = await site.http.get(f"{path}?offset={offset}")
            found += [one["seq"] for one in answer.json()]
            offset, *state = state_of(answer.headers)  # type: ignore[assignment]
            assert state == (["true", "true"] if len(found) == 603 else [None, None])
            pages += 1
        assert found == list(range(1, 604))
        assert (await site.http.head(path)).headers["stream-next-offset"] == offset
        assert pages > 2


async def test_each_piece_of_a_live_stream_says_where_it_is() -> None:
    """Behind the messages comes the offset behind the last of them; only the last piece is up to date."""
    async with served([count], **FRONTS) as site:
        job_id = await ended(site, 600)
        text = (await site.http.get(f"/v1/streams/{job_id}?offset=0000000000000003&live=sse")).text
    blocks = [block.split("\n", 1) for block in text.strip().split("\n\n")]
    said = [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in blocks]
    assert len(said) > 4
    found = 3
    for (kind, messages), (control, state) in zip(said[::2], said[1::2], strict=True):
        assert (kind, control) == ("data", "control")
        assert [one["seq"] for one in messages] == list(range(found + 1, found + 1 + len(messages)))
        found += len(messages)
        assert state["streamNextOffset"] == f"{found:016d}"
        assert ("streamCursor" in state) is (found < 603)
        assert (state.get("upToDate"), state.get("streamClosed")) == (
            (True, True) if found == 603 else (None, None)
        )
    assert found == 603


async def test_a_long_poll_waits_for_the_next_event() -> None:
    """It is answered when something is written, and at once when the job ends; until then it is open."""
    paced = Paced()
    async with served([paced.handler], **FRONTS) as site:
        job_id = await site.submit("paced")
        path = f"/v1/streams/{job_id}"
        await paced.give.send(7)
        offset = "0000000000000003"
        while (answer := await site.http.get(path)).headers["stream-next-offset"] != offset:
            await trio.lowlevel.checkpoint()
        assert state_of(answer.headers) == (offset, "true", None)
        live = await follow(site, f"{path}?offset=now&live=sse")
        first = await live.next()
        assert first is not None
        assert (first.event, first.value.get("upToDate"), first.value.get("streamClosed")) == (
            "control",
            True,
            None,
        )
        await trio.aclose_forcefully(live.wire.stream)
        while (await site.jobs.statistics()).readers:
            await trio.lowlevel.checkpoint()

        answers: list[Any] = []

        async def poll() -> None:
            answers.append(await site.http.get(f"{path}?offset={offset}&live=long-poll"))

        for kind in ("token", "completed"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll)
                job = await site.jobs.get(job_id)
                while not (await site.jobs.statistics()).readers:
                    await trio.lowlevel.checkpoint()
                if kind == "token":
                    paced.give.send_nowait(8)
                else:
                    paced.give.close()
            [one] = answers[-1].json()
            assert one["kind"] == kind
            offset = answers[-1].headers["stream-next-offset"]
        assert state_of(answers[-1].headers) == (offset, "true", "true")
        assert (await job.snapshot()).last_seq == int(offset)


@pytest.mark.parametrize(("expires", "waits"), [(None, 20.0), (7.0, 7.0)])
async def test_a_long_poll_without_an_event_is_answered_in_time(
    socket_clock: trio.testing.MockClock, expires: float | None, waits: float
) -> None:
    """It waits for 20 seconds, but no longer than its caller's authentication lasts, and says nothing."""

    async def knows(headers: Mapping[str, str]) -> Caller:
        return Caller(None, expires=expires)

    paced = Paced()
    async with served([paced.handler], authenticate=knows, patience=60.0, **FRONTS) as site:
        job_id = await site.submit("paced")
        while (await (await site.jobs.get(job_id)).snapshot()).last_seq < 2:
            await trio.lowlevel.checkpoint()
        wire = await site.connect()
        before = trio.current_time()
        await wire.say(f"GET /v1/streams/{job_id}?offset=2&live=long-poll HTTP/1.1")
        answer = await wire.head()
        assert (answer.status, state_of(answer.headers)) == (204, ("0000000000000002", "true", None))
        assert trio.current_time() - before == pytest.approx(waits, abs=1.0)


async def test_a_long_poll_that_nobody_waits_for_ends() -> None:
    """It reads no more when its client has left."""
    paced = Paced()
    async with served([paced.handler], **FRONTS) as site:
        wire = await site.connect()
        path = f"/v1/streams/{await site.submit('paced')}"
        await wire.say(f"GET {path}?offset=now&live=long-poll HTTP/1.1")
        while not (await site.jobs.statistics()).readers:
            await trio.lowlevel.checkpoint()
        await trio.aclose_forcefully(wire.stream)
        while (await site.jobs.statistics()).readers:
            await trio.lowlevel.checkpoint()


async def test_a_long_poll_ends_with_the_server() -> None:
    """It is answered with nothing when the server stops."""
    paced = Paced()
    async with served([paced.handler], **FRONTS) as site, trio.open_nursery() as nursery:
        path = f"/v1/streams/{await site.submit('paced')}"

        async def poll() -> None:
            answer = await site.http.get(f"{path}?offset=now&live=long-poll")
            assert answer.status_code in {200, 204}

        nursery.start_soon(poll)
        while not (await site.jobs.statistics()).readers:
            await trio.lowlevel.checkpoint()
        site.stop()
        await site.stopped.wait()


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("offset=here", 400, "bad_request"),
        ("offset=-2", 400, "bad_request"),
        ("offset=-1&live=yes", 400, "bad_request"),
        ("offset=", 400, "bad_request"),
        ("offset=1&offset=2", 400, "bad_request"),
        ("live=sse", 400, "bad_request"),  # which is to say where it begins
        ("live=long-poll", 400, "bad_request"),
        ("offset=0000000000000010", 410, "stream_gap"),  # ahead of the log
        ("offset=0000000000000010&live=sse", 410, "stream_gap"),
    ],
)
async def test_what_cannot_be_read_is_refused(query: str, status: int, code: str) -> None:
    """An offset that is none, missing, given twice, or ahead of the log, and an unknown way of reading."""
    async with served([count], **FRONTS) as site:
        answer = await site.http.get(f"/v1/streams/{await ended(site, 6)}?{query}")
        assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (status, code, status)
        assert answer.headers["content-type"] == "application/problem+json"
        if status == 410:
            assert "events 10 to 10" in answer.json()["detail"]
            assert answer.headers["stream-next-offset"] == "0000000000000009"


async def test_a_gap_is_told_and_can_be_passed() -> None:
    """What comes before it is read, then it is a 410 with the offset to go on from, each way of reading."""
    async with served([count], registry={"retention": Retention(events=4)}, **FRONTS) as site:
        path = f"/v1/streams/{await ended(site, 50)}"
        answer = await site.http.get(path)
        assert [one["kind"] for one in answer.json()] == ["submitted", "started"]
        offset = answer.headers["stream-next-offset"]
        for live in ("", "&live=long-poll", "&live=sse"):
            gone = await site.http.get(f"{path}?offset={offset}{live}")
            assert (gone.status_code, gone.json()["code"]) == (410, "stream_gap")
        answer = await site.http.get(f"{path}?offset={gone.headers['stream-next-offset']}")
        assert [one["seq"] for one in answer.json()] == list(range(49, 54))
        stream = (await site.http.get(f"{path}?offset=-1&live=sse")).text
        assert stream.count("event: data") == 1
        assert "streamClosed" not in stream
        assert offset in stream


async def test_only_the_owner_reads_and_nobody_writes() -> None:
    """Another's stream is none; a POST, PUT or DELETE is not there."""

    async def knows(headers: Mapping[str, str]) -> Caller | None:
        return Caller(headers["x-user"]) if "x-user" in headers else None

    async with served([count], authenticate=knows, **FRONTS) as site:
        job = await site.jobs.submit(count, 3, owner="ann")
        path = f"/v1/streams/{job.id}"
        statuses = [
            (await site.http.get(path, headers={"x-user": who})).status_code for who in ("ann", "bob")
        ]
        assert statuses == [200, 404]
        assert (await site.http.get(path)).status_code == 401
        for method in ("POST", "PUT", "DELETE"):
            assert (await site.http.request(method, path, headers={"x-user": "ann"})).status_code == 405


@pytest.mark.parametrize("shown", [True, False])
async def test_a_traceback_is_told_by_choice(*, shown: bool) -> None:
    """Only a server with tracebacks sends them, each way of reading; and no line has an end in it."""
    async with served([fail], tracebacks=shown, **FRONTS) as site:
        path = f"/v1/streams/{await ended(site, TEXT, name='fail')}"
        page, live = [(await site.http.get(path + query)).text for query in ("", "?offset=-1&live=sse")]
        assert [("raise ValueError" in text) for text in (page, live)] == [shown, shown]
        assert TEXT not in live


@pytest.mark.deep  # it starts a process
async def test_its_own_client_reads_everything_once() -> None:
    """All at once, from an offset, and live over a network that cuts: each event, in order, once. A gap is
    an error with the offset to go on from."""
    needs("@durable-streams/client")

    @handler
    async def slow(job: JobContext[int]) -> None:
        for number in range(MANY):
            await job.send(number)
            await trio.sleep(0.001)  # so that it is read while it runs

    async with (
        served(
            [count, slow], patience=120, registry={"retention": Retention(events=2 * MANY)}, **FRONTS
        ) as site,
        served([count], patience=120, registry={"retention": Retention(events=4)}, **FRONTS) as lossy,
        open_proxy(site.url, Weather(life=80_000, piece=2000)) as proxy,
    ):
        job_id, gone, live = await ended(site, 6), await ended(lossy, 50), await site.submit("slow")
        program = Path(__file__).with_name("durable_streams.mjs")
        found = await run(program, site.url, proxy.url, lossy.url, job_id, gone, live)
    assert [one["seq"] for one in found["all"]] == list(range(1, LAST + 1))
    assert (found["closed"], found["offset"]) == (True, "0000000000000009")
    assert (found["rest"], found["now"]) == ([8, 9], [])
    assert (found["gap"]["status"], found["gap"]["code"]) == (410, "stream_gap")
    assert found["behind"][-1]["kind"] == "completed"
    for one in found["followed"]:
        assert one["seqs"] == list(range(1, MANY + 4))
    assert proxy.connections > len(found["followed"]), "the network has cut nothing"
