"""A folder with a program, and the command line run there: in this process, or in one of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import trio_jobs
from trio_jobs.cli import main

ROOT = Path(trio_jobs.__file__).parents[1]
WAIT = 60.0  # seconds before a hung process fails its test; no test passes because of it
PROGRAM = """
import sys
from typing import Any

import trio
import trio_jobs


@trio_jobs.handler
async def add(job: trio_jobs.JobContext[int], one: int, two: int) -> int:
    await job.send(one)
    await job.send(two)
    return one + two


@trio_jobs.handler
async def fail(job: trio_jobs.JobContext[str], text: str) -> None:
    await job.send(text)
    raise ValueError(text)


@trio_jobs.handler
async def polite(job: trio_jobs.JobContext[str]) -> str:
    await job.send("begun")
    await job.cancel_requested.wait()
    return "stopped politely"


@trio_jobs.handler
async def endless(job: trio_jobs.JobContext[str]) -> None:
    await job.send("begun")
    await trio.sleep_forever()


@trio_jobs.handler
async def stubborn(job: trio_jobs.JobContext[str]) -> None:
    await job.send("begun")
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


@trio_jobs.handler
async def spin(job: trio_jobs.JobContext[str]) -> None:
    print("spinning", file=sys.stderr, flush=True)
    while True:
        pass


@trio_jobs.handler(inputs=Any)
async def ask(job: trio_jobs.JobContext[str]) -> list[Any]:
    if job.attempt == 1:
        raise trio_jobs.AwaitInput("Deploy?")
    return [value async for value in job.inputs]


@trio_jobs.handler
async def styled(job: trio_jobs.JobContext[str], text: str, *, bold: bool, size: int = 1) -> str:
    return f"{text} {bold} {size}"


handlers = [add, fail, polite, endless, stubborn, spin, ask, styled]
nothing = 5
"""


class Cli:
    """The command line in a folder that has `program.py`."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.processes: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command in this process; return its exit status and what it wrote."""
        self.capsys.readouterr()
        status = main(arguments)
        out, err = self.capsys.readouterr()
        return status, out, err

    def submit(self, *arguments: str) -> str:
        """Submit a job, and return its id."""
        status, out, err = self("submit", "program", *arguments)
        assert (status, err) == (0, "")
        return out.strip()

    def work(self) -> None:
        """Run the jobs that wait to their ends."""
        import program  # type: ignore[import-not-found]  # written by the fixture

        async def work() -> None:
            async with trio_jobs.open_registry("sqlite:///jobs.db", handlers=program.handlers) as jobs:
                for job in await jobs.find():
                    await (await jobs.get(job.id)).wait()

        trio.run(work)

    def work_until_waiting(self, job_id: str) -> None:
        """Run jobs until one of them waits for an input."""
        import program  # pyright: ignore[reportMissingImports]

        async def work() -> None:
            async with trio_jobs.open_registry("sqlite:///jobs.db", handlers=program.handlers) as jobs:
                handle = await jobs.get(job_id)
                async with handle.events() as events:
                    async for event in events:
                        if event.kind is trio_jobs.Kind.RETRIED:
                            break

        trio.run(work)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own, with pipes."""
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "trio_jobs", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **env},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.processes.append(process)
        return process

    def start_worker(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a worker, and return it once it runs jobs."""
        process = self.start("worker", "program:handlers", "--name", "w", *arguments)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("w runs add, "), line + process.stderr.read()
        return process

    def start_server(self, *arguments: str) -> tuple[subprocess.Popen[str], str]:
        """Start a server on a free port, and return it with its address once it listens."""
        options = ["--port", "0", "--name", "w", *arguments]
        process = self.start("serve", "program:handlers", *options)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("w runs add, "), line + process.stderr.read()
        told = re.fullmatch(
            r"the page is at (https?://\S+:\d+)/; Ctrl-C stops it\n", process.stderr.readline()
        )
        assert told is not None
        return process, told[1]

    def start_job(self, handler: str) -> str:
        """Submit a job that sends `begun`, and return its id after that."""
        job_id = self.submit(handler)
        stream = self.start("stream", job_id)
        assert stream.stdout is not None
        assert stream.stdout.readline() == "begun\n"
        stream.kill()
        return job_id


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """The command line, in a folder of its own."""
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIO_JOBS_STORE", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    made = Cli(tmp_path, capsys)
    yield made
    for process in made.processes:
        process.kill()
        with process:
            process.wait(WAIT)
    for name in set(sys.modules) - before:
        if name in {"program", "broken", "quitting", "lost"}:
            del sys.modules[name]
