"""`trio-jobs stream`: a job's tokens, live, from any cursor."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
import trio

import trio_jobs


def test_tokens_are_output_and_states_are_not(cli: Any) -> None:
    """Each token is a line on standard output, each other event one on standard error with its cursor."""
    job_id = cli.submit("add", "1", "2")
    cli.work()
    status, out, err = cli("stream", job_id[:10])
    assert (status, out) == (0, "1\n2\n")
    assert err.splitlines() == [
        "[1] submitted: add",
        "[2] started: attempt 1 at worker",
        "[5] completed: 3",
    ]


def test_it_resumes_behind_any_cursor(cli: Any) -> None:
    """Each cursor gives the events behind it, the terminal one the end; one beyond it is refused."""
    job_id = cli.submit("add", "1", "2")
    cli.work()
    for after in range(6):
        status, out, _ = cli("stream", job_id, "--after", str(after), "--json")
        assert (status, [json.loads(line)["seq"] for line in out.splitlines()]) == (0, [*range(after + 1, 6)])
    for beyond in ("6", "-1"):
        status, out, err = cli("stream", job_id, "--after", beyond)
        assert (status, out, err.count("\n")) == (2, "", 1)


def test_the_status_says_how_it_ended(cli: Any) -> None:
    """The status is 1 for a failed job, and 3 for a cancelled one."""
    failed = cli.submit("fail", "so")
    cli.work()
    assert cli("stream", failed)[0] == 1
    cancelled = cli.submit("add", "1", "2")
    cli("cancel", cancelled)
    assert cli("stream", cancelled)[0] == 3


def test_text_may_run_together(cli: Any) -> None:
    """With --join only the last line end is printed; control codes are escaped."""
    job_id = cli.submit("fail", "a\x1b b\tc")
    cli.work()
    assert cli("stream", job_id, "--join")[1] == "a\\x1b b\tc\n"


def test_ctrl_c_says_where_to_go_on(cli: Any) -> None:
    """Tokens are printed while the job runs; the status is 130, and the output says how to resume."""
    cli.start_worker()
    job_id = cli.submit("polite")
    stream = cli.start("stream", job_id, "--store", "sqlite:///./jobs.db")
    assert stream.stdout.readline() == "begun\n"
    stream.send_signal(signal.SIGINT)
    _, err = stream.communicate(timeout=60)
    assert stream.returncode == 130
    last = err.splitlines()[-1]
    assert last == f"to go on: trio-jobs stream {job_id} --after 3 --store sqlite:///./jobs.db"
    cli("cancel", job_id, "--grace", "60")
    assert cli(*last.partition("trio-jobs ")[2].split())[:2] == (0, "")


def test_sigterm_is_143(cli: Any) -> None:
    """The status names the signal."""
    job_id = cli.submit("add", "1", "2")
    stream = cli.start("stream", job_id)
    assert stream.stderr.readline() == "[1] submitted: add\n"
    stream.terminate()
    assert stream.wait(60) == 143


def test_a_reader_that_leaves_is_no_crash(cli: Any) -> None:
    """When the pipe's other end is closed, it ends without output, with the status of SIGPIPE."""
    job_id = cli.submit("fail", "so")
    stream = cli.start("stream", job_id)
    assert stream.stderr.readline() == "[1] submitted: fail\n"
    stream.stdout.close()
    cli.work()
    assert stream.wait(60) == 141
    assert "Traceback" not in stream.stderr.read()


@pytest.mark.parametrize("join", [True, False])
def test_reasoning_is_apart_from_the_answer(cli: Any, join: bool) -> None:
    """A token that is just reasoning is on standard error, escaped; what else is sent, on standard output."""

    @trio_jobs.handler
    async def thinks(job: trio_jobs.JobContext[Any]) -> None:
        await job.send_many([{"reasoning": "H\x1b"}, {"reasoning": "m"}, "yes", {"no": 1, "reasoning": "m"}])

    async def work() -> str:
        async with trio_jobs.open_registry("sqlite:///jobs.db", handlers=[thinks]) as jobs:
            handle = await jobs.submit(thinks)
            await handle.wait()
            return handle.id

    _, out, err = cli("stream", trio.run(work), *["--join"] * join)
    end = "" if join else "\n"
    assert out == f'yes{end}{{"no": 1, "reasoning": "m"}}\n'
    assert f"\nH\\x1b{end}m\n[7] completed" in err
