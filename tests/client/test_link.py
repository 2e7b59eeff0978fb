"""The connection is renewed whenever it ends: requests continue on the next one, or raise an error in
time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.client.site import count, forever, permits, site
from tests.serving.proxy import Weather, open_proxy
from trio_jobs.client import Disconnected, connect, request_table
from trio_jobs.client import socket as client_socket


async def test_calls_and_streams_outlive_connections(socket_clock: MockClock) -> None:
    """Waits and streams that are open while connections are cut end as without the cuts."""
    async with site() as (_, url), open_proxy(url) as proxy, connect(proxy.url) as remote:
        gate = permits("cuts")
        handle = await remote.submit("permitted", "cuts")
        found: list[Any] = []
        async with handle.stream() as values, trio.open_nursery() as nursery:
            nursery.start_soon(handle.wait)
            for value in range(5):
                gate.send_nowait(value)
                found.append(await values.receive())
                assert proxy.cut() == 1
            gate.close()
            found += [value async for value in values]
        assert found == list(range(5))
        assert proxy.connections == 6


async def test_those_who_wait_too_long_are_told(socket_clock: MockClock) -> None:
    """While the server cannot be reached, calls and receives raise `Disconnected` after `patience`; when it
    is back, the same client and the same stream go on."""
    async with site() as (_, url), open_proxy(url) as proxy, connect(proxy.url, patience=0.3) as remote:
        handle = await remote.submit(forever)
        async with handle.events() as events:
            assert [(await events.receive()).seq for _ in range(3)] == [1, 2, 3]
            proxy.weather = Weather(refusal=1.0)
            proxy.cut()
            with pytest.raises(Disconnected):
                await events.receive()
            for call in (handle.snapshot, handle.wait, handle.cancel):
                with pytest.raises(Disconnected) as caught:
                    await call()
                assert caught.value.url.startswith(proxy.url.replace("http", "ws"))
            proxy.weather = Weather()
            while True:
                try:
                    await handle.request_cancel()
                    break
                except Disconnected:
                    continue
            assert [event.kind async for event in events] == ["cancel_requested", "cancelled"]


async def test_a_short_outage_is_not_told(socket_clock: MockClock) -> None:
    """A call whose server is back within `patience` is answered."""
    async with site() as (_, url), open_proxy(url) as proxy, connect(proxy.url, patience=20) as remote:
        handle = await remote.submit(count, 3)
        proxy.weather = Weather(refusal=1.0)
        proxy.cut()
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await handle.result())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            while proxy.connections < 4:
                await trio.sleep(0.1)
            proxy.weather = Weather()
        assert answers == [3]


@pytest.mark.deep
async def test_a_server_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a ping is not answered, the connection is made again."""
    monkeypatch.setattr(client_socket, "PING", 0.05)
    monkeypatch.setattr(client_socket, "PONG", 0.1)
    async with site() as (_, url), open_proxy(url, seed=1) as proxy:
        proxy.weather = Weather(life=3000, silence=1.0)
        async with connect(proxy.url) as remote:
            gate = permits("silent")
            handle = await remote.submit("permitted", "silent")
            async with handle.stream() as values:
                for value in range(30):
                    gate.send_nowait(str(value) * 100)
                    assert await values.receive() == str(value) * 100
        assert proxy.connections > 2


@pytest.mark.deep
async def test_what_never_gets_through_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is stuck on every connection raises a network error; others are answered meanwhile."""
    monkeypatch.setattr(client_socket, "PING", 0.05)
    monkeypatch.setattr(client_socket, "PONG", 0.1)
    monkeypatch.setattr(request_table, "LOSSES", 4)
    async with site() as (_, url), open_proxy(url, Weather(life=20_000, silence=1.0), seed=1) as proxy:
        async with connect(proxy.url) as remote:
            with pytest.raises(Disconnected, match="ping|broke|handshake"):
                await remote.submit("count", "x" * 200_000)
            assert proxy.connections >= 4
            proxy.weather = Weather()
            proxy.cut()
            assert await (await remote.submit(count, 1)).result() == 1


async def test_a_quiet_connection_is_kept(monkeypatch: pytest.MonkeyPatch, socket_clock: MockClock) -> None:
    """A connection whose pings are answered is kept, though no other message is sent for long."""
    monkeypatch.setattr(client_socket, "PING", 0.05)
    async with site() as (_, url), open_proxy(url) as proxy, connect(proxy.url) as remote:
        handle = await remote.submit(forever)
        with trio.move_on_after(0.5):
            await handle.wait()
        assert (await handle.cancel()).outcome == "cancelled"
        assert proxy.connections == 1


async def test_a_connection_that_is_busy_is_kept(
    monkeypatch: pytest.MonkeyPatch, socket_clock: MockClock
) -> None:
    """A connection whose pong is behind a large answer is kept, as its bytes count."""
    monkeypatch.setattr(client_socket, "PING", 0.05)
    monkeypatch.setattr(client_socket, "PONG", 0.2)
    slow = Weather(piece=4000, delay=0.05)
    async with site() as (jobs, url), open_proxy(url, slow) as proxy, connect(proxy.url) as remote:
        there = await jobs.submit(count, 1, metadata={"large": "x" * 40_000})
        assert (await (await remote.get(there.id)).wait()).metadata == {"large": "x" * 40_000}
        assert proxy.connections == 1


async def test_leaving_while_there_is_no_connection(socket_clock: MockClock) -> None:
    """The block can be left, and scopes around it cancelled, also while the client tries to connect."""
    async with site() as (_, url), open_proxy(url) as proxy:
        async with connect(proxy.url) as remote:
            await remote.handlers()
            proxy.weather = Weather(refusal=1.0)
            proxy.cut()
            while proxy.connections < 2:
                await trio.sleep(0.1)
        with trio.move_on_after(0.2) as scope:
            async with connect(proxy.url):
                raise AssertionError("it was entered")
        assert scope.cancelled_caught


async def test_leaving_a_server_that_is_silent(
    monkeypatch: pytest.MonkeyPatch, socket_clock: MockClock
) -> None:
    """The block can be left although the server does not answer the close frame."""
    monkeypatch.setattr(client_socket, "CLOSE", 0.05)
    async with site() as (_, url), open_proxy(url) as proxy:
        proxy.weather = Weather(life=2**40, delay=0)
        with trio.fail_after(10):
            async with connect(proxy.url) as remote:
                await remote.handlers()
                proxy.stall()


async def test_calls_of_many_tasks_are_told_apart() -> None:
    """Tasks that call at the same time each get their own answer, over connections that are cut meanwhile."""
    async with site() as (jobs, url), open_proxy(url) as proxy, connect(proxy.url) as remote:
        found: dict[int, int] = {}

        async def ask(n: int) -> None:
            found[n] = await (await remote.submit(count, n)).result()

        async with trio.open_nursery() as nursery:
            for n in range(60):
                nursery.start_soon(ask, n)
            for _ in range(3):
                await wait_all_tasks_blocked(0.02)
                proxy.cut()
        assert found == {n: n for n in range(60)}
        assert await jobs.count() == 60
