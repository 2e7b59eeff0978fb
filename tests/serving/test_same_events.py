"""Readers in the process, over a WebSocket and over an event stream get the same events of one log."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import httpx2
import pytest
import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import trio_jobs
from tests.serving.proxy import Proxy, Weather, open_proxy
from trio_jobs import Ended, Event, JobContext, JobHandle, Kind, Progress, Retry
from trio_jobs.client import backoff, connect
from trio_jobs.serving import serve_http

Log = list[Event]
Shown = tuple[int, str, Any]
"""An event as an event stream has it: its cursor, its name, and its data, of JSON unless it is the end."""

TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
ODD = st.sampled_from(["[DONE]", "\n\n", "data: x", "event: end", "id: 9", ": ping", "", "\r\n", "\u2028"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
VALUES = st.lists(JSON | ODD, max_size=40)


@pytest.fixture(autouse=True)
def _hurry() -> Iterator[None]:
    """Let clients reconnect at once, so that a test sees many connections."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backoff, "BACKOFF", Retry(attempts=2, initial=0.001, maximum=0.05))
        yield


@trio_jobs.handler(retry=Retry(attempts=2, initial=0, jitter=0))
async def say(job: JobContext[Any], values: list[Any], ending: str) -> list[Any]:
    """Send values, some at a time; fail half-way in the first attempt if the end says so."""
    for place, value in enumerate(values):
        await job.send(value)
        if place % 7 == 3:
            await job.progress(place, len(values), "on the way")
            await job.save(place)
            await trio.sleep(0.001)
    if ending == "retried" and job.attempt == 1:
        raise OSError("once more")
    if ending == "failed":
        raise trio_jobs.Permanent(ValueError("line one\nline two\r\nid: 7"))
    if ending == "cancelled":
        await trio.sleep_forever()
    return values


# ------------------------------------------------------------ three readers


async def read(handle: JobHandle[Any, Any], chance: random.Random, into: list[Log]) -> None:
    """Read with a handle of either kind: leave the log at some cursors, and resume behind them."""
    found: Log = []
    cursor = 0
    while not (found and found[-1].kind.ends):
        left = chance.randint(1, 30)
        async with handle.events(cursor, policy="gap") as events:
            async for event in events:
                found.append(event)
                left -= 1
                if not left:
                    break
            cursor = events.cursor
    into.append(found)


async def read_sse(url: str, chance: random.Random, into: list[list[Shown]]) -> None:
    """Read as a browser does: when the stream breaks, resume behind the last event, until the end."""
    found: list[Shown] = []
    async with httpx2.AsyncClient(timeout=2) as client:
        while not (found and found[-1][1] in {"completed", "failed", "cancelled"}):
            left = chance.randint(1, 30)
            headers = {"last-event-id": str(found[-1][0])} if found else {}
            try:
                async with client.sse(url, headers=headers) as events:
                    async for event in events:
                        if not event.id:  # it says when to come back, which is no event to browsers
                            continue
                        found.append((int(event.id), event.event, event.data))
                        left -= 1
                        if not left:
                            await events.response.aclose()  # then the iteration ends, with an error
            except (httpx2.HTTPError, httpx2.StreamError, OSError):
                continue
        last = await ended_status(client, url, found[-1][0])
        assert last in {None, 204}
    into.append(found)


async def ended_status(client: httpx2.AsyncClient, url: str, cursor: int) -> int | None:
    """Return the status behind the end, which stops browsers from reconnecting; None if the network broke."""
    try:
        return (await client.get(url, headers={"last-event-id": str(cursor)})).status_code
    except (httpx2.HTTPError, OSError):
        return None


def as_shown(event: Event) -> Shown:
    """Return an event as the documentation says an event stream has it."""
    data: Any
    match event.kind:
        case Kind.COMPLETED:
            data = "[DONE]"
        case Kind.CANCELLED:
            data = "[CANCELLED]"
        case Kind.FAILED:
            data = f"[ERROR] {event.data.error.message}".replace("\r\n", "\n")
        case _:
            data = attrs.asdict(event.data) if isinstance(event.data, Ended | Progress) else event.data
    return event.seq, event.kind, data


def parsed(one: Shown) -> Shown:
    """Return an event of an event stream, its JSON decoded."""
    seq, name, data = one
    return (seq, name, data if name in {"completed", "failed", "cancelled"} else json.loads(data))


# ------------------------------------------------------------ they agree


async def three_readers(values: list[Any], ending: str, seed: int, life: int | None) -> None:
    """Read one job in three ways, over connections that break, and compare."""
    chance = random.Random(seed)
    weather = Weather(life=life, piece=500)
    logs: list[Log] = []
    streams: list[list[Shown]] = []
    async with trio_jobs.open_registry(handlers=[say]) as jobs, trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve_http, jobs, port=0, tracebacks=True, grace=0.2))
        async with open_proxy(url, weather, seed=seed) as proxy, connect(proxy.url) as remote:
            handle = await jobs.submit(say, values, ending)
            with trio.fail_after(40):
                async with trio.open_nursery() as readers:
                    for one in (handle, await remote.get(handle.id), await remote.get(handle.id)):
                        readers.start_soon(read, one, random.Random(chance.random()), logs)
                    sse = f"{proxy.url}/v1/jobs/{handle.id}/stream"
                    readers.start_soon(read_sse, sse, random.Random(chance.random()), streams)
                    if ending == "cancelled":
                        await handle.cancel("enough")
                await read(handle, random.Random(1), logs)
                await read(await remote.get(handle.id), random.Random(2), logs)
                await read_sse(sse, random.Random(3), streams)
            _end(proxy)
        nursery.cancel_scope.cancel()
    log = logs[0]
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert [one == log for one in logs] == [True] * 5
    for stream in streams:
        assert [parsed(one) for one in stream] == [as_shown(event) for event in log]


def _end(proxy: Proxy) -> None:
    """Repair the network, so that all can leave in order."""
    proxy.weather = Weather()
    proxy.cut()


@settings(max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # each takes real time
@given(
    VALUES,
    st.sampled_from(["completed", "failed", "retried", "cancelled"]),
    st.integers(0, 2**32),
    st.sampled_from([None, 8000, 20_000]),
)
async def test_all_readers_see_the_same(values: list[Any], ending: str, seed: int, life: int | None) -> None:
    """Whatever a job sends and however it ends, each reader gets each event of its log once, in order, to the
    end, over any cuts of its connection and from any cursor at which it was left."""
    await three_readers(values, ending, seed, life)
