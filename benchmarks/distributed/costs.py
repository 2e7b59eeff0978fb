"""How much processor time a job and a token take on each store, in the program and in the server."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from benchmarks.durable.checks import Figures, medians, must_be
from benchmarks.durable.peers.ours import work
from benchmarks.durable.tokens import BURST, BURSTS, EACH, write
from benchmarks.inprocess import Row
from trio_jobs import open_registry

from .libraries import OURS, Library
from .servers import Server
from .speed import AT_ONCE, Scale

MICROSECONDS = 1e6
MAIN = r"SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)"


def server_seconds(server: Server) -> float:
    """Return the processor time of a server and of all the processes it has had."""
    main = server.ask(f"{server.address}/postgres", MAIN)
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    ticks = sum(sum(_ticks(int(child))[:2]) for child in children) + sum(_ticks(main))
    return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> list[int]:
    """Return a process's time as user and in the system, and that of its children which have ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended, and its parent counts it
        return [0] * 4
    return [int(one) for one in stat.rpartition(")")[2].split()[11:15]]


async def run_jobs(address: str, jobs: int) -> None:
    """Submit jobs, and wait for their results, with as many at once as may run."""
    async with open_registry(address, handlers=[work], capacity=AT_ONCE) as registry:

        async def take_turns() -> None:
            for n in numbers:
                number, _ = await (await registry.submit(work, n)).result()
                must_be("the result of a job", number, n)

        numbers = iter(range(jobs))
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(take_turns)


async def write_tokens(address: str, tokens: int, burst: int) -> None:
    """Send the tokens of a job that nobody follows."""
    await write(address, tokens, burst, followed=False)


def cost(server: Server, run: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Return the seconds of processor time that something takes here, and in the server."""
    here, there = time.process_time(), server_seconds(server)
    trio.run(run)
    return time.process_time() - here, server_seconds(server) - there


def measure(server: Server, address: str, scale: Scale) -> Iterator[tuple[str, float, float]]:
    """Yield microseconds of a job, and of a token in bursts and by itself, here and in the server.

    The opening of a registry counts, and is little of that.
    """
    jobs, tokens = scale.jobs // 4, scale.tokens
    trio.run(run_jobs, address, AT_ONCE)  # to warm up
    for name, run, count in (
        ("job", partial(run_jobs, address, jobs), jobs),
        (BURSTS, partial(write_tokens, address, tokens, BURST), tokens),
        (EACH, partial(write_tokens, address, tokens // 4, 1), tokens // 4),
    ):
        here, there = (MICROSECONDS * seconds / count for seconds in cost(server, run))
        yield name, here, there


def rows(scale: Scale, server: Server, _: Sequence[Library]) -> Iterator[Row]:
    found: dict[str, Figures] = defaultdict(lambda: defaultdict(list))
    for _turn in range(scale.rounds):
        with OURS.on(server) as place, TemporaryDirectory(dir="/var/tmp") as folder:  # /tmp may be in memory
            for store, address in (
                ("memory", "memory://"),
                ("file", f"sqlite:///{folder}/jobs.db"),
                ("PostgreSQL, the program", place.address),
            ):
                for name, here, there in measure(server, address, scale):
                    found[name][store].append(here)
                    if address == place.address:
                        found[name]["PostgreSQL, the server"].append(there)
    for name, figures in found.items():
        what = "a job" if name == "job" else f"a token of 12 bytes, {name}"
        yield Row("cost", f"processor time of {what}", "µs", medians(figures))
