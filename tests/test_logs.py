"""Each line of the log says which job it belongs to, as text and as JSON, and requests can be logged."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from starlette.types import Receive, Scope, Send

from trio_jobs import JobContext, open_registry
from trio_jobs.logs import JobFilter, JsonFormatter, current_job
from trio_jobs.serving import http_app
from trio_jobs.serving.http.access_log import AccessLog

Output = logging.StreamHandler[io.StringIO]
logger = logging.getLogger("a program")


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address of each kind."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def output() -> Iterator[Output]:
    """A logging handler for all lines from INFO on, whatever the command line has set in this process."""
    handler = logging.StreamHandler(io.StringIO())
    root, ours = logging.getLogger(), logging.getLogger("trio_jobs")
    levels = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    ours.setLevel(logging.INFO)
    yield handler
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    root.removeHandler(handler)


def as_json(output: Output) -> list[dict[str, Any]]:
    """Return what a handler wrote, each line read as JSON."""
    return [json.loads(line) for line in output.stream.getvalue().split("\n")[:-1]]


async def writes(job: JobContext[Any]) -> None:
    logger.info("in the handler")
    await trio.to_thread.run_sync(logger.info, "in a thread")
    job.nursery.start_soon(write_later)


async def write_later() -> None:
    logger.info("in a task")


async def spawns(job: JobContext[Any]) -> None:
    await (await job.spawn(writes)).result()
    logger.info("in the parent")


async def submits(job: JobContext[Any]) -> None:
    await (await job.submit(writes)).result()
    logger.info("in the submitter")


async def fails(job: JobContext[Any]) -> None:
    raise ValueError("ouch\nforged\u2028")


HANDLERS: list[Any] = [writes, spawns, submits, fails]


@pytest.mark.parametrize(("fn", "last"), [(spawns, "in the parent"), (submits, "in the submitter")])
async def test_lines_have_their_job(store: str, output: Output, fn: Any, last: str) -> None:
    """Lines of a handler, its threads and tasks have its job's fields; lines of no handler have `-`."""
    output.addFilter(JobFilter())
    output.setFormatter(logging.Formatter("%(job_id)s %(handler)s %(attempt)s %(message)s"))
    async with open_registry(store, handlers=HANDLERS) as jobs:
        handle = await jobs.submit(fn)
        await handle.result()
        logger.info("in no job")
    told = [line for line in output.stream.getvalue().splitlines() if " in " in line]
    assert told[-1] == "- - - in no job"
    assert [line.partition(" ")[2] for line in told[:-1]] == [
        "writes 1 in the handler",
        "writes 1 in a thread",
        "writes 1 in a task",
        f"{fn.__name__} 1 {last}",
    ]
    ids = [line.split()[0] for line in told[:-1]]
    assert ids[0] == ids[1] == ids[2] != ids[3] == handle.id


async def test_the_current_job(store: str) -> None:
    """The context variable has the handler's own `JobContext`, and nothing outside of handlers."""
    found: list[Any] = []

    async def looks(job: JobContext[Any]) -> None:
        found.append((job, current_job.get()))

    async with open_registry(store, handlers=[looks]) as jobs:
        await (await jobs.submit(looks)).result()
        assert current_job.get() is None
    ((given, current),) = found
    assert given is current


async def test_a_program_without_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the module is loaded nobody is told which job is the current one."""
    found: list[Any] = []

    async def looks(job: JobContext[Any]) -> None:
        found.append(current_job.get())

    monkeypatch.setattr("trio_jobs._running.attempt.Attempt.current", None)
    async with open_registry() as jobs:
        await (await jobs.submit(looks)).result()
    assert found == [None]


async def test_a_failure_as_json(store: str, output: Output) -> None:
    """Each line is one object in ASCII with the job's fields; a failure has its traceback as a field."""
    output.setFormatter(JsonFormatter())
    async with open_registry(store, handlers=HANDLERS) as jobs:
        handle = await jobs.submit(fails)
        await handle.wait()
    assert output.stream.getvalue().isascii()
    started, failed = as_json(output)
    for line in started, failed:
        assert (line["job_id"], line["handler"], line["attempt"]) == (handle.id, "fails", 1)
        assert line["logger"] == "trio_jobs.job"
        assert line["time"].endswith("+00:00")
    assert (started["level"], started["state"], "reason" in started) == ("INFO", "running", False)
    assert (failed["level"], failed["state"], failed["reason"]) == ("WARNING", "failed", "error")
    assert failed["error"] == r"ValueError: ouch\x0aforged\u2028"
    assert failed["message"].endswith(failed["error"])
    assert failed["traceback"].startswith("Traceback")
    assert failed["traceback"].endswith("ValueError: ouch\nforged\u2028\n")


async def test_lines_of_handlers_as_json(output: Output) -> None:
    """A handler's line has its job and what it was logged with, as text if JSON cannot hold it."""

    async def says(job: JobContext[Any]) -> None:
        given = {"order": 7, "rows": [1, {"a": None}], "rate": float("inf"), "of": {1}, "time": "forged"}
        logger.info("two\nlines", extra=given)

    output.setFormatter(JsonFormatter())
    async with open_registry() as jobs:
        handle = await jobs.submit(says)
        await handle.result()
    _, line, _ = as_json(output)
    assert line.pop("time") != "forged"
    assert line == {
        "level": "INFO",
        "logger": "a program",
        "message": "two\nlines",
        "job_id": handle.id,
        "handler": "says",
        "attempt": 1,
        "order": 7,
        "rows": [1, {"a": None}],
        "rate": "inf",
        "of": "{1}",
    }


@pytest.mark.parametrize("filtered", [True, False])
async def test_lines_of_no_job_as_json(output: Output, filtered: bool) -> None:
    """A line that no handler wrote has no fields of a job, filter or not, and its traceback and stack."""
    output.setFormatter(JsonFormatter())
    if filtered:
        output.addFilter(JobFilter())
    try:
        raise KeyError("gone")
    except KeyError:
        logger.exception("it %s", "broke", stack_info=True)
    (line,) = as_json(output)
    assert list(line) == ["time", "level", "logger", "message", "traceback", "stack"]
    assert line["message"] == "it broke"
    assert line["traceback"].endswith("KeyError: 'gone'")
    assert line["stack"].startswith("Stack")


@pytest.mark.parametrize("on", [True, False])
async def test_requests_are_logged_if_asked_for(on: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Each request is a line with its answer, escaped and without its query; by default there is none."""
    caplog.set_level(logging.INFO, "trio_jobs.access")
    async with open_registry(handlers=HANDLERS) as jobs:
        transport = httpx2.ASGITransport(http_app(jobs, access_log=on) if on else http_app(jobs))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.get("/healthz?token=secret")
            await client.get("/no%0Aforged")
    told = [record for record in caplog.records if record.name == "trio_jobs.access"]
    facts = [(one.__dict__["method"], one.__dict__["path"], one.__dict__["status"]) for one in told]
    assert facts == ([("GET", "/healthz", 200), ("GET", r"/no\x0aforged", 404)] if on else [])
    assert not any("secret" in one.getMessage() or "\n" in one.getMessage() for one in told)


async def test_a_request_without_an_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One whose client has left has status 499, one that failed 500, and what is no request has no line."""
    caplog.set_level(logging.INFO, "trio_jobs.access")

    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("ouch")

    async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    request: Any = {"type": "http", "method": "GET", "path": "/", "client": None}
    unused: Any = None
    with pytest.raises(ValueError, match="ouch"):
        await AccessLog(breaks)(request, unused, unused)
    with trio.CancelScope() as scope:
        scope.cancel()
        await AccessLog(hangs)(request, unused, unused)
    with pytest.raises(ValueError, match="ouch"):
        await AccessLog(breaks)({"type": "lifespan"}, unused, unused)
    assert [record.__dict__["status"] for record in caplog.records] == [500, 499]
    assert {record.__dict__["client"] for record in caplog.records} == {"-"}
