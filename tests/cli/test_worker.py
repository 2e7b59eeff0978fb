"""`trio-jobs worker` runs jobs, and stops in order, or by force."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
from typing import Any

import httpx2
import pytest
import trio

import trio_jobs
from tests.cli.conftest import WAIT
from trio_jobs import Kind
from trio_jobs.cli.metrics import host_and_port


def state_of(cli: Any, job_id: str) -> tuple[str, str | None]:
    job = json.loads(cli("show", job_id, "--json")[1])
    return job["state"], job["reason"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_stops_at_once(cli: Any, number: signal.Signals) -> None:
    """The status names the signal, and the last line says that nothing runs."""
    worker = cli.start_worker("--grace", "60")
    worker.send_signal(number)
    assert worker.wait(60) == 128 + number
    assert worker.stderr.read() == "stopped: nothing runs here any more\n"


def test_jobs_are_told_and_may_end(cli: Any) -> None:
    """Within the grace a handler that gets the request ends by itself, and its end counts."""
    worker = cli.start_worker("--grace", "60")
    job_id = cli.start_job("polite")
    worker.terminate()
    assert worker.wait(60) == 143
    assert state_of(cli, job_id) == ("completed", None)


@pytest.mark.deep
def test_the_loop_is_watched_if_asked_for(cli: Any) -> None:
    """With `--watch-loop` the log names the handler that blocks the event loop, and its job."""
    worker = cli.start_worker("--watch-loop")
    job_id = cli.submit("spin")
    told = next(line for line in worker.stderr if "blocks the event loop" in line)
    assert " in spin blocks the event loop, for " in told
    assert f"; task: spin {job_id} in " in told


@pytest.mark.deep
def test_what_still_runs_is_handed_over(cli: Any) -> None:
    """After the grace a handler is cancelled, and the next worker runs its job."""
    worker = cli.start_worker("--grace", "0.1")
    job_id = cli.start_job("endless")
    worker.terminate()
    assert worker.wait(60) == 143
    assert state_of(cli, job_id) == ("retrying", "shutdown")
    cli.start_worker()
    stream = cli.start("stream", job_id, "--after", "4")
    assert stream.stdout.readline() == "begun\n"


@pytest.mark.parametrize("handler", ["stubborn", "spin"])
@pytest.mark.deep
def test_what_does_not_stop_is_left_by_force(cli: Any, handler: str) -> None:
    """The process ends within grace + 2 s, names the job, and leaves it until its lease lapses. This holds
    even if the handler blocks the whole event loop."""
    worker = cli.start_worker("--grace", "0.1")
    if handler == "spin":  # it sends nothing that would reach the file
        job_id = cli.submit(handler)
        assert worker.stderr.readline() == "spinning\n"
    else:
        job_id = cli.start_job(handler)
    began = time.monotonic()
    worker.terminate()
    assert worker.wait(60) == 143
    assert time.monotonic() - began < 0.1 + 2
    assert f"job {job_id} ({handler}) did not stop within 0.1s" in worker.stderr.read()
    assert state_of(cli, job_id)[0] == "running"


def test_metrics_are_shown(cli: Any) -> None:
    """With `--metrics` a worker shows what its attempts did, and its health, and none of its jobs."""
    worker = cli.start("worker", "program:handlers", "--name", "w", "--metrics", "0")
    line = worker.stderr.readline()
    told = re.search(r"; metrics are at (http://127\.0\.0\.1:\d+)/metrics; Ctrl-C stops it\n", line)
    assert told, line + worker.stderr.read()
    url = told[1]
    job_id = cli.submit("add", "1", "2")
    assert cli("stream", job_id)[0] == 0
    text = httpx2.get(f"{url}/metrics").text
    assert '\ntrio_jobs_tokens_total{handler="add"} 2.0\n' in text
    assert '\ntrio_jobs_ended_total{handler="add",reason="",state="completed"} 1.0\n' in text
    assert "\ntrio_jobs_capacity 100\n" in text
    assert httpx2.get(f"{url}/healthz").text == "ok\n"
    assert httpx2.get(f"{url}/v1/jobs").status_code == 404
    worker.terminate()
    assert worker.wait(60) == 143


HOOKS = """
import contextlib, sys

@contextlib.asynccontextmanager
async def wrap(job):
    print("around", job.handler, file=sys.stderr, flush=True)
    yield

def told(job, kind, ended):
    print("told", kind, file=sys.stderr, flush=True)

async def wrong(job, kind, ended): ...
"""


def test_hooks_are_named(cli: Any) -> None:
    """A worker calls `--wrap` around attempts, and `--on-event` as well as its own metrics."""
    (cli.folder / "hooks.py").write_text(HOOKS, encoding="utf-8")
    job_id = cli.submit("add", "1", "2")
    hooks = ("--wrap", "hooks:wrap", "--on-event", "hooks:told")
    worker = cli.start("worker", "program", *hooks, "--metrics", "0")
    told = re.search(r"metrics are at (\S+);", worker.stderr.readline())
    assert told
    assert cli("stream", job_id)[0] == 0
    said = [worker.stderr.readline() for _ in range(4)]
    assert sorted(said) == ["around add\n", "told completed\n", "told started\n", "told token\n"]
    assert '\ntrio_jobs_tokens_total{handler="add"} 2.0\n' in httpx2.get(told[1]).text
    worker.terminate()
    assert worker.wait(60) == 143


@pytest.mark.parametrize("command", [("worker",), ("worker", "--metrics", "0"), ("serve", "--port", "0")])
@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--wrap", "hooks", "--wrap takes module:attribute, as app:wrap; got 'hooks'"),
        ("--on-event", "hooks:", "--on-event takes module:attribute, as app:on_event; got 'hooks:'"),
        ("--wrap", "hooks:no", "module hooks has no 'no'; --wrap takes module:attribute, as app:wrap"),
        ("--on-event", "nowhere:told", "there is no module 'nowhere'"),
        ("--on-event", "hooks:wrong", "on_event takes a plain function of a JobContext, a Kind"),
        ("--wrap", "hooks:wrong", "wrap takes a function of a JobContext that returns"),
    ],
)
def test_hooks_that_cannot_be(cli: Any, command: tuple[str, ...], option: str, value: str, said: str) -> None:
    """A hook that does not exist, or cannot be called, is one line before anything runs."""
    (cli.folder / "hooks.py").write_text(HOOKS, encoding="utf-8")
    status, out, err = cli(command[0], "program", *command[1:], option, value)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"trio-jobs: {said}")


@pytest.mark.parametrize("where", ["port", "70000", "host:", ":1", "-1", "a b:1", "::1:9100"])
def test_metrics_need_a_port(cli: Any, where: str) -> None:
    """What is no port, alone or behind a host, is refused before anything runs."""
    status, _, err = cli("worker", "program:handlers", f"--metrics={where}")
    assert (status, err) == (2, f"trio-jobs: --metrics takes a port, as 9100, or 0.0.0.0:9100; got {where}\n")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("9100", ("127.0.0.1", 9100)),
        ("0.0.0.0:9100", ("0.0.0.0", 9100)),  # noqa: S104  # nothing is bound
        ("[::1]:0", ("::1", 0)),
        ("worker-7.example:65535", ("worker-7.example", 65535)),
    ],
)
def test_a_port_may_have_a_host(text: str, where: tuple[str, int]) -> None:
    """A port alone is on this machine only; a host may be a name or an address."""
    assert host_and_port(text) == where


def test_a_port_that_is_taken_is_named(cli: Any) -> None:
    """A worker whose port for metrics is taken says so, and runs no job."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, err = cli("worker", "program:handlers", "--metrics", str(port))
    assert (status, err) == (
        1,
        f"trio-jobs: 127.0.0.1:{port} is taken by another program; choose another --metrics, or 0 for any\n",
    )


@pytest.mark.parametrize("missing", ["prometheus_client", "starlette.applications"])
def test_an_extra_that_is_missing_is_named(cli: Any, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an extra that metrics need, the command says which."""
    of_extras = "trio_jobs.serving", "trio_jobs.telemetry"
    for name in [name for name in sys.modules if name.startswith(of_extras)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    status, _, err = cli("worker", "program:handlers", "--metrics", "0")
    assert status == 1
    assert "pip install 'trio-jobs[" in err


SERVING = """
import trio
import trio_jobs


@trio_jobs.handler(service=trio_jobs.Restart(first=0.0))
async def listen(job):
    await job.ready()
    await trio.sleep_forever()


handlers = [listen]
"""


@pytest.mark.deep
def test_a_service_fails_over(cli: Any) -> None:
    """A service whose worker is killed is run by the other one once its lease has lapsed, and is ready."""
    (cli.folder / "listening.py").write_text(SERVING, encoding="utf-8")
    options = ("listening:handlers", "--lease", "1.5")
    workers = {name: cli.start("worker", *options, "--name", name) for name in ("a", "b")}
    for name, worker in workers.items():
        assert worker.stderr.readline().startswith(f"{name} runs listen from ")

    async def follow() -> tuple[str, str]:
        runs = killed = ""
        async with trio_jobs.open_registry("sqlite:///jobs.db", capacity=0) as jobs:
            (service,) = await jobs.find(handler="listen")
            handle = await jobs.get(service.id)
            with trio.fail_after(WAIT):
                async with handle.events() as events:
                    async for event in events:
                        if event.kind is Kind.STARTED:
                            runs = event.data
                        elif event.kind is Kind.READY and not killed:
                            killed = runs
                            workers[killed].kill()
                        elif event.kind is Kind.READY and runs != killed:
                            assert (await handle.snapshot()).ready_at is not None
                            break
        return killed, runs

    assert sorted(trio.run(follow)) == ["a", "b"]


def test_a_worker_without_handlers_does_not_start(cli: Any) -> None:
    """Wrong options are reported before anything is opened or created."""
    for arguments in (["missing"], ["program:nothing"], ["program", "--store", "memory://"], []):
        status, out, err = cli("worker", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
    assert not (cli.folder / "jobs.db").exists()


def test_a_bad_limit_is_told(cli: Any) -> None:
    """An error of the registry is reported on one line."""
    for arguments in (["--lease", "0"], ["--capacity", "-1"], ["--capacity", "many"]):
        status, _, err = cli("worker", "program", *arguments)
        assert (status, err.count("\n")) == (2, 1)


def test_a_failure_is_in_the_log(cli: Any) -> None:
    """A handler's error is on standard error, with its place; its text starts no line of its own. Other ends
    are logged at `--log-level info`."""
    worker = cli.start_worker("--grace", "60", "--log-level", "info")
    job_id = cli.submit("fail", "ouch\n2026-01-01 INFO trio_jobs.job: job 1 (fake) completed\x1b[2J")
    cli.start("stream", job_id).wait(60)
    worker.terminate()
    assert worker.wait(60) == 143
    said = worker.stderr.read()
    assert f"INFO trio_jobs.job: job {job_id} (fail): attempt 1 started\n" in said
    first, *rest = said[said.index(" WARNING ") :].splitlines()
    fake = r"ouch\x0a2026-01-01 INFO trio_jobs.job: job 1 (fake) completed\x1b[2J"
    assert (
        first
        == f" WARNING trio_jobs.job: job {job_id} (fail) failed after attempt 1 (error): ValueError: {fake}"
    )
    trace = rest[: rest.index("stopped: nothing runs here any more")]
    assert trace[0] == "  | Traceback (most recent call last):"
    assert any(line.endswith("raise ValueError(text)") for line in trace)
    assert all(line.startswith("  | ") and "\x1b" not in line for line in trace)
    assert not [line for line in said.splitlines() if line.startswith("2026-01-01")]


def test_the_log_as_json(cli: Any) -> None:
    """With `--log-format json` each line on standard error is an object, that of the command itself too."""
    worker = cli.start("worker", "program:handlers", "--name", "w", "--log-format", "json")
    told = [worker.stderr.readline()]
    job_id = cli.submit("fail", "ouch\nforged")
    cli.start("stream", job_id).wait(60)
    worker.terminate()
    assert worker.wait(60) == 143
    told += worker.stderr.readlines()
    ready, failed, stopped = map(json.loads, told)
    assert ready["message"].startswith("w runs add, ")
    assert stopped["message"] == "stopped: nothing runs here any more"
    assert (failed["logger"], failed["job_id"], failed["handler"]) == ("trio_jobs.job", job_id, "fail")
    assert failed["traceback"].endswith("ValueError: ouch\nforged\n")


@pytest.mark.parametrize("level", ["info", "warning"])
def test_handlers_log_at_the_same_level(cli: Any, level: str) -> None:
    """What a handler logs itself is written from the level on that `--log-level` says."""
    says = "async def says(job):\n    for level in 20, 30: logging.log(level, 'news')\n"
    (cli.folder / "wordy.py").write_text(f"import logging\n{says}all = [says]\n", "utf-8")
    worker = cli.start("worker", "wordy:all", "--log-level", level)
    worker.stderr.readline()
    status, job_id, _ = cli("submit", "wordy:all", "says")
    assert status == 0
    cli.start("stream", job_id.strip()).wait(60)
    worker.terminate()
    assert worker.wait(60) == 143
    said = worker.stderr.read()
    assert ("INFO root: news\n" in said) == (level == "info")
    assert "WARNING root: news\n" in said


@pytest.mark.deep
def test_only_failures_are_logged_by_default(cli: Any) -> None:
    """Without `--log-level` a worker logs failed jobs only."""
    worker = cli.start_worker("--grace", "60")
    for arguments in (["add", "1", "2"], ["fail", "ouch"]):
        cli.start("stream", cli.submit(*arguments)).wait(60)
    worker.terminate()
    assert worker.wait(60) == 143
    said = worker.stderr.read()
    assert said.count("trio_jobs.job") == said.count("WARNING") == 1
