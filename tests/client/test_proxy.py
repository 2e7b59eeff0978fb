"""Over a very bad network, and over servers that are killed: no gap, no repeat, always an end."""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import trio

import trio_jobs
from tests.client.site import Kind as Server
from tests.client.site import count, permits, site
from tests.serving.proxy import Weather, open_proxy
from trio_jobs import Event, JobHandle, Kind
from trio_jobs.client import connect
from trio_jobs.client import socket as client_socket

NODE = Path(__file__).with_name("node.py")


async def every_event(handle: JobHandle[Any, Any], pause: random.Random | None = None) -> list[Event]:
    """Read a log to its end, slowly at times."""
    found: list[Event] = []
    async with handle.events(policy="gap") as events:
        async for event in events:
            found.append(event)
            if pause is not None and pause.random() < 0.02:
                await trio.sleep(0.01)
    return found


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.deep
async def test_no_gap_no_repeat_and_an_end(kind: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a proxy that delays, splits, cuts off within frames and stalls: each submitted job exists once
    and has its result, and each reader gets exactly the events of the log."""
    monkeypatch.setattr(client_socket, "PING", 0.1)
    monkeypatch.setattr(client_socket, "PONG", 0.3)
    monkeypatch.setattr(client_socket, "CONNECT", 0.5)
    seed = random.getrandbits(32)
    print(f"{seed=}")
    chance = random.Random(seed)
    weather = Weather(life=60_000, piece=2000, delay=0.001, silence=0.1, refusal=0.1)
    async with (
        site(kind) as (jobs, url),
        open_proxy(url, weather, seed=seed) as proxy,
        connect(proxy.url) as remote,
    ):
        seen: dict[str, list[Event]] = {}

        async def one(n: int) -> None:
            handle = await remote.submit(count, n, tags={"n": str(n)})
            assert await handle.result() == n
            seen[handle.id] = await every_event(handle)

        async def live(name: str) -> None:
            gate = permits(name)
            handle = await remote.submit("permitted", name)
            async with trio.open_nursery() as readers:
                for pause in (None, random.Random(seed)):
                    readers.start_soon(into, handle, f"{handle.id} {pause}", pause)
                for value in range(400):
                    await gate.send(value)
                    await trio.sleep(chance.random() * 0.002)
                gate.close()

        async def into(handle: JobHandle[Any, Any], name: str, pause: random.Random | None) -> None:
            seen[name] = await every_event(handle, pause)

        async with trio.open_nursery() as nursery:
            for n in range(0, 600, 60):
                nursery.start_soon(one, n)
            for name in ("live 1", "live 2"):
                nursery.start_soon(live, name)
        proxy.weather = Weather()
        assert await jobs.count() == 12
        assert len(seen) == 14
        for name, events in seen.items():
            here = await jobs.get(name.partition(" ")[0])
            assert events == await every_event(here), name
        print(f"{proxy.connections} connections")
        assert proxy.connections > 3


@asynccontextmanager
async def node(file: Path, port: int) -> AsyncGenerator[None]:
    """Run a server in a process of its own, and kill it at the end."""
    command = [sys.executable, str(NODE), str(file), str(port)]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, stdout=PIPE, check=False))
        try:
            async for _ in process.stdout:
                break  # it listens
            yield
        finally:
            process.kill()


async def free_port() -> int:
    """Return a port at which no server listens."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        return int(listener.socket.getsockname()[1])


@pytest.mark.deep
async def test_servers_are_killed(tmp_path: Path) -> None:
    """A server is killed in the middle of its work and another one takes over its file and its port, twice:
    the same client continues, its streams read every event of the log, and its jobs have their results."""
    file, n = tmp_path / "jobs.db", 300
    port = await free_port()
    deaths = [trio.Event() for _ in range(3)]
    seen: list[list[Event]] = []
    tokens: list[str] = []

    async def servers() -> None:
        for death in deaths:
            async with node(file, port):
                await death.wait()

    async def read(handle: JobHandle[Any, Any]) -> None:
        seen.append(await every_event(handle))

    async def read_tokens(handle: JobHandle[Any, Any]) -> None:
        async with handle.stream(restarts="continue", policy="gap") as stream:
            async for token in stream:
                tokens.append(token)
                if len(tokens) in {60, 120}:
                    deaths[len(tokens) // 60 - 1].set()

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(servers)
            async with connect(f"http://127.0.0.1:{port}") as remote:
                handle = await remote.submit("tick", n, key="mine")
                async with trio.open_nursery() as readers:
                    readers.start_soon(read, handle)
                    readers.start_soon(read, handle)
                    readers.start_soon(read_tokens, handle)
                assert await handle.result() == n
                assert await remote.submit("tick", n, key="mine") == handle
                history = await handle.history()
            deaths[-1].set()
        async with trio_jobs.open_registry(f"sqlite:///{file}", capacity=0) as jobs:
            log = await every_event(await jobs.get(handle.id))
    assert seen == [log, log]
    assert tokens == [event.data for event in log if event.kind is Kind.TOKEN]
    assert history == [event for event in log if event.kind is not Kind.TOKEN]
    assert sum(event.kind is Kind.STARTED for event in log) >= 3
    sent = [int(token.partition(":")[2]) for token in tokens]
    assert sorted(set(sent)) == list(range(n))
