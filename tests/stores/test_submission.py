"""The arguments of `submit` become a submission, or an error of the caller's."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import pytest

from trio_jobs import InvalidPayload, JobContext, Priority, Retry, Timeouts, handler
from trio_jobs.stores import Options
from trio_jobs.stores.resubmitting import resubmission
from trio_jobs.stores.submission import child_submission, submission

Context = JobContext[Any]


async def plain(job: Context, a: int) -> None: ...


@handler(name="marked", timeouts=Timeouts(run=5, idle=6), retry=Retry(attempts=3), priority=Priority.HIGH)
async def marked(job: Context) -> None: ...


def test_without_options() -> None:
    """Without options a submission is the handler, its arguments, its mark and a new id; no key."""
    made = submission(plain, (7,), {})
    assert (made.handler, made.target, made.args, made.key) == ("plain", plain, (7,), None)
    assert made.options == Options()
    assert submission(marked, (), {}).handler == "marked"
    assert submission(plain, (7,), {}).id != made.id


def test_options_win_over_the_mark() -> None:
    """Options of `submit` have precedence; the others stay as in the mark."""
    made = submission(marked, (), {"timeout": 1, "owner": "me"})
    assert made.options == Options(Timeouts(run=1, idle=6), Retry(attempts=3), Priority.HIGH, owner="me")


@pytest.mark.parametrize("given", [{"key": "k"}, {"key": "k", "delay": 1}, {"key": ""}])
def test_a_key(given: dict[str, Any]) -> None:
    """The key is kept beside the options, not in them."""
    made = submission(plain, (7,), given)
    assert made.key == given["key"]
    assert made.options == Options(delay=given.get("delay", 0.0))


def test_no_key() -> None:
    """`key=None` is no key."""
    assert submission(plain, (7,), {"key": None}).key is None


@pytest.mark.parametrize(
    ("key", "error"),
    [(7, TypeError), ("\0", InvalidPayload), ("\ud800", InvalidPayload)],
    ids=["int", "nul", "half"],
)
def test_a_wrong_key(key: Any, error: type[Exception]) -> None:
    """A key is text that every store can hold."""
    with pytest.raises(error, match="^key "):
        submission(plain, (7,), {"key": key})


@pytest.mark.parametrize("make", [submission, partial(child_submission, parent=Options())])
def test_the_call_is_checked(make: Any) -> None:
    """Wrong arguments and wrong handlers are refused by `submit`, not when the job runs."""
    with pytest.raises(TypeError, match="plain takes 1 arguments"):
        make(plain, (), {})
    with pytest.raises(TypeError, match="a handler is an async function"):
        make(None, (), {})
    with pytest.raises(TypeError, match="tags takes a mapping"):
        make(plain, (7,), {"tags": 7})


def test_a_wrong_option() -> None:
    """An unknown option is refused, with the name of a similar one."""
    with pytest.raises(TypeError, match="did you mean 'priority'"):
        submission(plain, (7,), {"prority": 1})


def test_a_child() -> None:
    """A child has the clocks of its handler's mark only: no retry and no queue. It has its parent's owner and
    priority, and none of its other options."""
    made = child_submission(marked, (), {}, Options())
    assert (made.handler, made.target, made.args, made.key) == ("marked", marked, (), None)
    assert made.options == Options(Timeouts(run=5, idle=6))
    given: dict[str, Any] = {"timeout": 1, "tags": {"a": "b"}, "metadata": {"n": 1}}
    made = child_submission(plain, (7,), given, Options())
    assert made.options == Options(Timeouts(run=1), tags={"a": "b"}, metadata={"n": 1})
    above = Options(Timeouts(run=9), priority=Priority.HIGH, owner="ann", tags={"x": "y"}, metadata={"z": 1})
    made = child_submission(plain, (7,), given, above)
    assert made.options == attrs.evolve(
        Options(Timeouts(run=1), tags={"a": "b"}, metadata={"n": 1}), owner="ann", priority=Priority.HIGH
    )


@pytest.mark.parametrize(
    "name", ["retry", "priority", "delay", "run_at", "key", "owner", "when_unread", "other"]
)
def test_no_option_of_a_child(name: str) -> None:
    """A child has four options, and the error for any other lists them."""
    with pytest.raises(TypeError) as caught:
        child_submission(plain, (7,), {name: 1}, Options())
    assert (
        str(caught.value) == f"a child job has no option '{name}'; it takes timeout, timeouts, tags, metadata"
    )


@pytest.mark.parametrize("make", [submission, partial(child_submission, parent=Options())])
@pytest.mark.parametrize("args", [(), (7,)])
def test_an_argument_that_was_given_by_name(make: Any, args: tuple[Any, ...]) -> None:
    """The error for a handler's argument given by name says that it is no option, and where it goes."""
    with pytest.raises(
        TypeError, match=r"'a' is an argument of plain, .* as in submit\(plain, …, kwargs=\{'a': …\}\)"
    ):
        make(plain, args, {"a": 1, "tags": {}})
    with pytest.raises(TypeError, match="a handler is an async function"):
        make(None, args, {"a": 1})


@pytest.mark.parametrize("make", [submission, partial(child_submission, parent=Options())])
def test_arguments_by_name(make: Any) -> None:
    """`kwargs` is copied, beside all other options, and is none of `Options`."""
    given = {"a": 7}
    new = make(plain, (), {"kwargs": given, "tags": {"b": "c"}})
    given["a"] = 8
    assert (new.args, new.kwargs, dict(new.options.tags)) == ((), {"a": 7}, {"b": "c"})
    assert make(plain, (7,), {"kwargs": {}}).kwargs == {}
    for wrong in (None, [("a", 7)], {1: 7}):
        with pytest.raises(TypeError, match="kwargs takes a mapping with str names; got"):
            make(plain, (), {"kwargs": wrong})


def test_a_job_is_submitted_again_with_its_own_arguments() -> None:
    """`resubmission` keeps the arguments by name, and takes no others."""
    old = submission(plain, (), {"kwargs": {"a": 7}})
    assert resubmission(old, {}).kwargs == {"a": 7}
    with pytest.raises(TypeError, match="a job is submitted again with the arguments that it had"):
        resubmission(old, {"kwargs": {"a": 8}})


@handler(hide_args=True)
async def secretive(job: JobContext[Any], password: str) -> None: ...


def test_a_child_hides_what_its_handler_hides() -> None:
    """`hide_args` counts for jobs and child jobs of the handler, and not for others that these spawn."""
    assert submission(secretive, ("a",), {"delay": 1}).options.hide_args
    assert child_submission(secretive, ("a",), {"timeout": 1}, Options()).options.hide_args
    assert not child_submission(plain, (7,), {}, Options(hide_args=True)).options.hide_args
