"""Workers on machines that stand still, have a wrong clock, or are cut off from the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from tests.postgres import Server
from tests.stores.postgres import load as loading
from tests.stores.postgres.load import registry, run, sql, under_load, work
from trio_jobs import State, open_registry

Start = Callable[..., Server]


async def test_no_clock_of_a_worker_counts(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine whose clock is an hour ahead, all times are those of the server, and nothing is late."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    async with registry(postgres_url) as jobs:
        job = await jobs.submit(work, 1, 0.0, delay=0.2)
        assert await job.result() == 1
        found = await job.snapshot()
        assert found.finished_at is not None
        for at in found.created_at, found.finished_at:
            assert abs(at.timestamp() - real()) < 60
        waiting = await jobs.submit(work, 2, 60.0)
        async with waiting.stream() as tokens:
            await tokens.receive()
        rows = sql(
            postgres_url,
            "SELECT coalesce(until, lease) - trio_jobs.clock() FROM trio_jobs.job"
            " LEFT JOIN trio_jobs.lease ON lease.number = leased_by WHERE state = 'running'",
        )
        ((left,),) = rows
        assert 0 < left <= 30
        await waiting.cancel()
        assert (await waiting.snapshot()).state is State.CANCELLED


def start_host(url: str, name: str, lease: float, notes: Path, *prefix: str) -> subprocess.Popen[bytes]:
    """Start a worker as a process of its own, and wait until it works."""
    command = [*prefix, sys.executable, str(Path(loading.__file__)), url, name, str(lease), str(notes)]
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root})
    assert process.stdout is not None
    assert process.stdout.readline() == b"works\n"
    return process


def end_host(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    process.communicate(timeout=30)


@pytest.mark.deep
async def test_a_worker_that_stands_still_past_its_lease(postgres_url: str, tmp_path: Path) -> None:
    """A worker that is stopped for longer than its lease loses its jobs to another one; when it goes on, what
    it writes is refused, and it works again."""
    process = await trio.to_thread.run_sync(start_host, postgres_url, "one", 1.0, tmp_path / "notes")
    try:
        async with under_load(postgres_url, capacity=0, seconds=0.5) as load:
            process.send_signal(signal.SIGSTOP)
            async with open_registry(postgres_url, handlers=[work], capacity=4, lease=1.0):
                await load.go_on(12)
            process.send_signal(signal.SIGCONT)
            await load.go_on(12)
            await load.end(lost=True)
    finally:
        await trio.to_thread.run_sync(end_host, process)
    lost = "SELECT count(*) FROM trio_jobs.event WHERE data LIKE '%%worker_lost%%'"
    assert sql(postgres_url, lost)[0][0] > 0


# ------------------------------------------------------------ three hosts


@pytest.fixture
def hosts(own_server: Start) -> Iterator[tuple[Server, list[str]]]:
    """Return a server, and the names of three network namespaces from which it is reached at 10.213.0.1."""
    token = f"tj{os.getpid() % 100000}"
    names = [f"{token}n{place}" for place in range(3)]
    try:
        try:
            run("ip", "link", "add", token, "type", "bridge")
            run("ip", "address", "add", "10.213.0.1/24", "dev", token)
            run("ip", "link", "set", token, "up")
            for place, name in enumerate(names):
                inside = ("ip", "-n", name)
                run("ip", "netns", "add", name)
                run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
                run("ip", "link", "set", name, "master", token, "up")
                run(*inside, "address", "add", f"10.213.0.{place + 2}/24", "dev", "eth0")
                run(*inside, "link", "set", "eth0", "up")
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            pytest.skip(f"needs root and network namespaces: {getattr(error, 'stderr', error)!r}")
        server = Server(settings={"listen_addresses": "127.0.0.1,10.213.0.1"})
        try:
            server.create()
            with (server.data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all 10.213.0.0/24 trust\n")
            server.start()
            yield server, names
        finally:
            server.remove()
    finally:
        for command in [("netns", "delete", name) for name in names] + [("link", "delete", token)]:
            with suppress(subprocess.CalledProcessError, FileNotFoundError):
                run("ip", *command)


@pytest.mark.deep
async def test_three_hosts_and_a_partition(hosts: tuple[Server, list[str]], tmp_path: Path) -> None:
    """Hosts lose the network one after the other, and get it back: others take over what they ran, nothing
    runs on two of them, nothing is lost, and each works again."""
    server, names = hosts
    notes = tmp_path / "notes"
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name in names:
            url = server.url(host="10.213.0.1")
            prefix = ("ip", "netns", "exec", name)
            processes.append(
                await trio.to_thread.run_sync(lambda: start_host(url, name, 2.0, notes, *prefix))  # noqa: B023
            )
        async with under_load(server.url(), capacity=0, seconds=0.4) as load:
            for name in names:
                run("ip", "link", "set", name, "down")
                await trio.sleep(3.0)  # for longer than a lease
                await load.go_on(10)
                run("ip", "link", "set", name, "up")
                await load.go_on(10)
            await load.end(lost=True)
    finally:
        for process in processes:
            await trio.to_thread.run_sync(end_host, process)
    assert loading.overlaps(loading.read(notes)) == []
    workers = server.query("SELECT DISTINCT data FROM trio_jobs.event WHERE kind = 'started'")
    assert len(workers) == 3
