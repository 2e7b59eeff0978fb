"""Rows: how a submission is written and read."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from trio_jobs import InvalidPayload, Job, Permanent, Retry, UnknownHandler, handler
from trio_jobs.stores import Options, Submission
from trio_jobs.stores.rows import Rows
from trio_jobs.stores.sqlite import open_sqlite
from trio_jobs.stores.submission import submission
from trio_jobs.testing.checks.kit import HOLDER, accept, make


async def greet(job: object, name: str, mark: str = ".") -> None: ...


def impostor(name: str) -> Any:
    async def fn(job: object, name: str) -> None: ...

    fn.__name__ = name
    return fn


@handler(retry=Retry(attempts=3, on=OSError))
async def picky(job: object) -> None: ...


def rows() -> Rows:
    return Rows({"greet": greet, "picky": picky})


def test_a_submission_as_it_is_written() -> None:
    """Name and arguments are text, and options that the file searches by have their own columns."""
    new = make("x", target=greet, key="k", owner="me", priority=0, retry=Retry(attempts=4))
    values = rows().written(new).values
    assert values["args"] == '["x"]'
    assert {name: values[name] for name in ("id", "handler", "priority", "owner", "key", "attempts")} == {
        "id": new.id,
        "handler": "greet",
        "priority": 0,
        "owner": "me",
        "key": "k",
        "attempts": 4,
    }


def test_no_handler_of_that_name() -> None:
    """The error names the handler and the existing ones."""
    with pytest.raises(UnknownHandler, match="no handler 'nobody': there is greet, picky; see handlers="):
        rows().written(make("x", target=impostor("nobody")))
    with pytest.raises(UnknownHandler, match="the registry was given none"):
        Rows({}).written(make("x", target=greet))


@pytest.mark.parametrize("target", [partial(greet, mark="!"), partial(greet, "x"), impostor("greet")])
def test_another_function_of_that_name(target: Any) -> None:
    """Another function, or a partial, under a handler's name is refused: bound values would be lost."""
    new = Submission("1", "greet", target, ("x",), Options())
    with pytest.raises(InvalidPayload) as caught:
        rows().written(new)
    assert "is not the handler this registry was given as 'greet'" in str(caught.value)
    assert "keeps names and arguments, no code; submit that handler with all its arguments" in str(
        caught.value
    )


def test_a_partial_may_be_a_handler() -> None:
    """A partial under its own name is accepted: every process that runs it has its bound values."""
    loudly = partial(greet, mark="!")
    written = Rows({"greet": loudly}).written(make("x", target=loudly))
    assert written.values["args"] == '["x"]'


def test_a_bound_method_is_the_same_again() -> None:
    """A bound method is accepted again, though each access makes a new object of it."""

    class Service:
        async def greet(self, job: object, name: str) -> None: ...

    service = Service()
    Rows({"greet": service.greet}).written(make("x", target=service.greet))


def test_any_function_may_be_a_child() -> None:
    """Any function may be a child, as no other process runs it; its arguments are logged as JSON."""
    assert rows().written(make("x", target=impostor("nobody")), child=True).values["args"] == '["x"]'
    with pytest.raises(InvalidPayload, match="the arguments of nobody cannot be kept as JSON"):
        rows().written(make(print, target=impostor("nobody")), child=True)


@pytest.mark.parametrize("attempts", [1, 2**63 - 1, 2**63, 2**200])
async def test_however_many_attempts(attempts: int, tmp_path: Path) -> None:
    """A rule may allow more attempts than a column can hold."""
    async with open_sqlite(tmp_path / "jobs.db", handlers=[greet]) as store:
        retry = Retry(attempts=attempts)
        (job_id,) = await accept(store, make("x", target=greet, retry=retry))
        assert (await store.get(job_id)).retry == retry
        (claim,) = await store.claim(1, HOLDER)
        assert claim.submission.options.retry == retry


async def test_a_time_that_no_date_has(tmp_path: Path) -> None:
    """A due time after the last date is shown as the last date."""
    async with open_sqlite(tmp_path / "jobs.db", handlers=[greet]) as store:
        (job_id,) = await accept(store, make("x", target=greet, delay=1e300))
        job: Job = await store.get(job_id)
        assert job.next_attempt_at == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


async def test_arguments_that_do_not_fit_any_more(tmp_path: Path) -> None:
    """The claim has a handler that fails at once and for good, with the handler's name in the error."""
    path = tmp_path / "jobs.db"
    async with open_sqlite(path, handlers=[greet]) as store:
        await accept(store, make("x", target=greet))

    async def now(job: object, name: int) -> None: ...

    now.__name__ = "greet"
    now.__annotations__ = {"name": int}
    async with open_sqlite(path, handlers=[now]) as store:
        (claim,) = await store.claim(1, HOLDER)
        assert claim.submission.args == ()
        with pytest.raises(Permanent, match="the arguments of greet do not fit: Expected `int`, got `str`"):
            await claim.submission.target(None)


def test_options_of_a_handler_that_is_not_here() -> None:
    """Options of a handler that is not here are read; its retry rule is the default one."""
    options = submission(picky, (), {}).options
    text = rows().written(make(target=picky)).values["options"]
    assert rows().options_of(text, 2, None, "picky") == options
    assert Rows({}).options_of(text, 2, None, "picky").retry == Retry(attempts=3)
