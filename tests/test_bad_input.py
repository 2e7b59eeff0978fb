"""Mistakes of callers and handlers: each has a clear error, and changes nothing."""

from __future__ import annotations

import asyncio  # noqa: TID251  # some try
import functools
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import (
    AwaitInput,
    Debounce,
    InvalidPayload,
    JobContext,
    JobFailed,
    Priority,
    Reason,
    Retention,
    Retry,
    RetryAfter,
    State,
    Timeouts,
    handler,
    open_registry,
)
from trio_jobs.client import connect

NAN, INF = float("nan"), float("inf")


async def one(job: JobContext[Any], a: int = 0) -> int:
    return a


async def two(job: JobContext[Any], a: int, b: int) -> int:
    return a + b


async def none() -> None: ...


async def needs_keyword(job: JobContext[Any], *, style: str) -> None: ...


async def generates(job: JobContext[Any]) -> AsyncIterator[int]:
    yield 1


def plain(job: JobContext[Any]) -> None: ...


class Methods:
    async def bound(self, job: JobContext[Any], a: int) -> int:
        return a

    async def __call__(self, job: JobContext[Any]) -> str:
        return "called"


# ------------------------------------------------------------------------------- submit


@pytest.mark.parametrize(
    ("fn", "args", "match"),
    [
        (plain, (), r"^plain is not an async function; define it with 'async def'"),
        (lambda job: None, (), r"is not an async function"),
        (print, (), r"^print is not an async function"),
        (generates, (), r"^generates is an async generator function; .* 'await job.send\(value\)'"),
        (None, (), r"^a handler is an async function; got None"),
        ("one", (), r"^a handler is an async function, not its name; got 'one'"),
        (42, (), r"^a handler is an async function; got 42"),
        (functools.partial(plain), (), r"^plain is not an async function"),
        (none, (), r"^none takes no arguments; a handler's first one is the job context"),
        (one, (1, 2), r"^one takes 0 to 1 arguments after the job context; got 2"),
        (two, (), r"^two takes 2 arguments after the job context; got 0"),
        (two, (1,), r"^two takes 2 arguments after the job context; got 1"),
        (two, (1, 2, 3), r"^two takes 2 arguments after the job context; got 3"),
        (functools.partial(two, b=1), (1, 2), r"^two takes 1 arguments"),
        (Methods().bound, (), r"^bound takes 1 arguments after the job context; got 0"),
        (Methods(), (1,), r"^Methods takes 0 arguments after the job context; got 1"),
        (needs_keyword, (), r"it needs the keyword argument 'style'. .* kwargs=\{'name': value\}"),
    ],
)
async def test_what_is_no_handler_or_has_other_arguments(
    autojump_clock: MockClock, fn: Any, args: tuple[Any, ...], match: str
) -> None:
    """Each wrong function or argument count is a TypeError with the reason; there is no job."""
    async with open_registry() as jobs:
        for attempt in (
            lambda: jobs.submit(fn, *args),
            lambda: jobs.submit_many(fn, [args]),
            lambda: jobs.execute_and_stream(fn, *args).__aenter__(),
        ):
            with pytest.raises(TypeError, match=match):
                await attempt()
        assert await jobs.count() == 0


async def test_a_coroutine_in_place_of_the_function(autojump_clock: MockClock) -> None:
    """`submit(fn(…))` is explained, and the coroutine is closed, so that no warning follows."""
    async with open_registry() as jobs:
        with pytest.raises(TypeError, match=r"write submit\(fn, …\), not submit\(fn\(…\)\)"):
            await jobs.submit(cast("Any", none()))
        assert await jobs.count() == 0


@pytest.mark.parametrize(
    "fn",
    [
        functools.partial(two, b=1),
        Methods().bound,
        functools.partial(needs_keyword, style="bold"),
    ],
)
async def test_what_is_a_handler_all_the_same(autojump_clock: MockClock, fn: Any) -> None:
    """Partials and bound methods are handlers like any other function."""
    async with open_registry() as jobs:
        args = () if "style" in getattr(fn, "keywords", {}) else (1,)
        assert (await (await jobs.submit(fn, *args)).wait()).state is State.COMPLETED
        assert await (await jobs.submit(Methods())).result() == "called"


QUIET = Debounce(1, 2)
LATER = datetime(2030, 1, 1, tzinfo=UTC)


class NotComparable:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare me")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"timeout": -1}, ValueError, r"^timeout must be at least 0; got -1"),
        ({"timeout": NAN}, ValueError, r"^timeout must be at least 0; got nan"),
        ({"timeout": "5"}, TypeError, r"^timeout takes a number; got '5'"),
        ({"timeout": True}, TypeError, r"^timeout takes a number; got True"),
        (
            {"timeout": timedelta(1)},
            TypeError,
            r"^timeout takes a number of seconds, as its total_sec",
        ),
        ({"timeout": 5, "timeouts": Timeouts()}, ValueError, r"^give timeout or timeouts, not both"),
        ({"timeouts": 5}, TypeError, r"^timeouts takes a Timeouts record; got 5"),
        ({"delay": -0.5}, ValueError, r"^delay must be at least 0; got -0.5"),
        ({"delay": NAN}, ValueError, r"^delay must be at least 0; got nan"),
        ({"delay": INF}, ValueError, r"^delay must be finite; got inf"),
        ({"delay": None}, TypeError, r"^delay takes a number; got None"),
        ({"linger": -1}, ValueError, r"^linger must be at least 0"),
        ({"run_at": datetime(2030, 1, 1)}, ValueError, r"^run_at must know its time zone"),  # noqa: DTZ001
        ({"run_at": 5}, TypeError, r"^run_at takes a datetime; got 5"),
        ({"priority": 4}, ValueError, r"^priority must be one of 'urgent' \(0\), 'high' \(1\), .*; got 4"),
        ({"priority": -1}, ValueError, r"^priority must be one of"),
        ({"priority": "HIGH"}, ValueError, r"^priority must be one of"),
        ({"priority": True}, ValueError, r"^priority must be one of"),
        ({"tags": {"user": 7}}, TypeError, r"^tags\['user'\] takes a str; got 7"),
        ({"tags": {7: "user"}}, TypeError, r"^tags takes a str; got 7"),
        ({"tags": ["user"]}, TypeError, r"^tags takes a mapping such as"),
        ({"tags": {"user": "\0"}}, InvalidPayload, r"^tags\['user'\] holds NUL"),
        ({"tags": {"\ud800": "x"}}, InvalidPayload, r"^tags holds NUL or a lone surrogate"),
        ({"metadata": [1]}, TypeError, r"^metadata takes a mapping"),
        ({"metadata": {1: 1}}, TypeError, r"^metadata takes a mapping with str names"),
        ({"owner": 7}, TypeError, r"^owner takes a str; got 7"),
        ({"owner": "a\0"}, InvalidPayload, r"^owner holds NUL"),
        ({"key": 7}, TypeError, r"^key takes a str; got 7"),
        ({"key": "\udfff"}, InvalidPayload, r"^key holds NUL or a lone surrogate"),
        ({"retry": 3}, TypeError, r"^retry takes a Retry record, such as Retry\(attempts=3\); got 3"),
        ({"when_unread": "stop"}, ValueError, r"^when_unread must be one of 'continue', 'pause', 'cancel'"),
        ({"when_unread": None}, ValueError, r"^when_unread must be one of"),
        ({"exclusive": 7}, TypeError, r"^exclusive takes a str; got 7"),
        ({"exclusive": ""}, ValueError, r"^exclusive takes a name, such as 'chat-7'; got an empty one"),
        ({"exclusive": "\0"}, InvalidPayload, r"^exclusive holds NUL"),
        (
            {"exclusive": "a", "on_busy": "wait"},
            ValueError,
            r"^on_busy must be one of 'reject', .*; got 'wait'",
        ),
        (
            {"exclusive": "a", "on_busy": (1, 2)},
            TypeError,
            r"^on_busy takes 'reject', .* or Debounce\(seconds",
        ),
        ({"exclusive": "a", "on_busy": None}, TypeError, r"^on_busy takes 'reject', .*; got None"),
        ({"on_busy": "after"}, ValueError, r"^on_busy needs exclusive=, the name that one job holds"),
        ({"on_busy": QUIET}, ValueError, r"^on_busy needs exclusive="),
        ({"exclusive": None, "on_busy": "after"}, ValueError, r"^on_busy needs exclusive="),
        (
            {"exclusive": "a", "on_busy": QUIET, "delay": 1},
            ValueError,
            r"^a Debounce says when .*; give neither",
        ),
        ({"exclusive": "a", "on_busy": QUIET, "run_at": LATER}, ValueError, r"^a Debounce says when"),
        ({"timeuot": 5}, TypeError, r"^there is no option 'timeuot'; did you mean 'timeout'\?"),
        ({"colour": "red"}, TypeError, r"^there is no option 'colour'"),
    ],
)
async def test_options_that_cannot_be(
    autojump_clock: MockClock, options: Any, error: type[Exception], match: str
) -> None:
    """Each bad option is refused by name, by `submit` and by `submit_many`, and there is no job."""
    async with open_registry() as jobs:
        with pytest.raises(error, match=match):
            await jobs.submit(one, **options)
        if "key" not in options:
            with pytest.raises(error, match=match):
                await jobs.submit_many(one, [(1,)], **options)
        assert await jobs.count() == 0
        assert await (await jobs.submit(one, 3)).result() == 3


async def test_delay_and_run_at_exclude_each_other(autojump_clock: MockClock) -> None:
    """A job is due at one time only."""
    async with open_registry() as jobs:
        with pytest.raises(ValueError, match="^give delay or run_at, not both"):
            await jobs.submit(one, delay=1, run_at=datetime.now().astimezone())
        assert await jobs.count() == 0


async def test_submit_many_with_a_key_or_without_tuples(autojump_clock: MockClock) -> None:
    """A key is for one job, and arguments are tuples; the errors say so."""
    async with open_registry() as jobs:
        with pytest.raises(TypeError, match="^submit_many takes no key: it names one job; call submit"):
            await jobs.submit_many(one, [(1,)], key="k")
        with pytest.raises(TypeError, match="^submit_many takes no exclusive: it names one job; call submit"):
            await jobs.submit_many(one, [(1,)], exclusive="chat")
        with pytest.raises(TypeError, match="^submit_many takes a tuple of arguments for each job; got 1"):
            await jobs.submit_many(one, [(1,), cast("Any", 1)])
        assert await jobs.count() == 0


async def test_a_key_whose_arguments_cannot_be_compared(autojump_clock: MockClock) -> None:
    """Arguments whose comparison raises differ: that is a conflict, and not their exception."""

    async def take(job: JobContext[Any], value: object) -> None: ...

    async with open_registry() as jobs:
        await jobs.submit(take, NotComparable(), key="k")
        with pytest.raises(Exception, match="'k' belongs to job"):
            await jobs.submit(take, NotComparable(), key="k")
        assert await jobs.count() == 1


# ------------------------------------------------------------------------------- the registry


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"store": "memory"}, ValueError, r"^no store has the address 'memory'; there are 'memory://'"),
        ({"store": "redis://localhost"}, ValueError, r"^no store has the address"),
        ({"capacity": -1}, ValueError, r"^capacity must be at least 0; got -1"),
        ({"capacity": 1.5}, TypeError, r"^capacity takes a whole number; got 1.5"),
        ({"capacity": None}, TypeError, r"^capacity takes a number; got None"),
        ({"queue_limit": 0}, ValueError, r"^queue_limit must be at least 1; got 0"),
        ({"window": 0}, ValueError, r"^window must be at least 1; got 0"),
        ({"window": INF}, TypeError, r"^window takes a whole number; got inf"),
        ({"grace": -1}, ValueError, r"^grace must be at least 0; got -1"),
        ({"grace": NAN}, ValueError, r"^grace must be at least 0; got nan"),
        ({"on_exit": "wait"}, ValueError, r"^on_exit must be one of 'stop', 'drain'; got 'wait'"),
        ({"name": 7}, TypeError, r"^name takes a str; got 7"),
        ({"retention": 7}, TypeError, r"^retention takes a Retention record; got 7"),
    ],
)
async def test_registries_that_cannot_be(
    autojump_clock: MockClock, arguments: Any, error: type[Exception], match: str
) -> None:
    """A bad argument is refused on entering, before anything runs."""
    with pytest.raises(error, match=match):
        async with open_registry(**arguments):
            pytest.fail("the block was entered")


@pytest.mark.parametrize(
    ("call", "opened"),
    [("open_registry", open_registry), ("connect", partial(connect, "http://127.0.0.1:1"))],
)
async def test_a_block_that_is_not_entered(call: str, opened: Callable[[], Any]) -> None:
    """Using what opens a registry, or a client, in place of what the block gives says what to write."""
    block, write = opened(), rf"^{call}\(…\) opens a block: write 'async with {call}\(…\) as jobs:'"
    with pytest.raises(AttributeError, match=f"{write}, and use jobs.submit inside it"):
        block.submit(one)
    with pytest.raises(TypeError, match=rf"{write}, not 'await {call}\(…\)'"):
        await block
    with pytest.raises(TypeError, match=f"{write}, not 'with'"), block:
        pytest.fail("the block was entered")


async def test_a_block_that_is_entered_again() -> None:
    """The second time it says that a new one is needed."""
    block = open_registry()
    async with block:
        pass
    with pytest.raises(RuntimeError, match=r"entered before; call open_registry\(…\) again"):
        async with block:
            pytest.fail("the block was entered")


@pytest.mark.parametrize("call", [open_registry, partial(connect, "http://127.0.0.1:1")])
def test_a_program_without_trio(call: Callable[[], AbstractAsyncContextManager[object]]) -> None:
    """Under asyncio, a registry or a client says that Trio is needed, and how it is started."""

    async def main() -> None:
        async with call():
            pytest.fail("the block was entered")

    with pytest.raises(RuntimeError, match=r" needs Trio, .*trio.run\(main\), not asyncio.run\(main\)"):
        asyncio.run(main())


async def test_a_registry_in_another_thread() -> None:
    """Another thread, without Trio or with a run of its own, is told how to call; that way it works."""
    async with open_registry() as jobs:
        handle = await jobs.submit(one)

        def work() -> int:
            for wrong in (
                lambda: trio.run(lambda: jobs.submit(one)),
                lambda: asyncio.run(handle.result()),
                jobs.pause,
            ):
                with pytest.raises(RuntimeError, match=r"as in trio.from_thread.run\(jobs.submit, fn\)"):
                    wrong()
            return trio.from_thread.run(trio.from_thread.run(jobs.submit, one, 3).result)

        assert await trio.to_thread.run_sync(work) == 3
        assert await jobs.count() == 2


async def test_filters_that_cannot_be(autojump_clock: MockClock) -> None:
    """A filter that is misspelt or ill-typed is refused; it never matches, or cancels, all jobs."""
    async with open_registry(capacity=0) as jobs:
        await jobs.submit(one)
        find: Any
        for find in (jobs.find, jobs.count, jobs.cancel_where):
            with pytest.raises(TypeError, match="^cannot find jobs by tag; it takes state, tags"):
                await find(tag={"user": "7"})
            with pytest.raises(ValueError, match="state must be one of 'queued', .*; got 'done'"):
                await find(state="done")
            with pytest.raises(TypeError, match=r"^tags\['user'\] takes a str; got 7"):
                await find(tags={"user": 7})
            with pytest.raises(TypeError, match="^owner takes a str; got None"):
                await find(owner=None)
        for find in (jobs.find, jobs.count):
            with pytest.raises(ValueError, match="reason must be one of 'error', .*; got 'done'"):
                await find(reason="done")
        with pytest.raises(ValueError, match="^limit must be at least 0; got -1"):
            await jobs.find(limit=-1)
        with pytest.raises(TypeError, match="^limit takes a number"):
            await jobs.find(limit=cast("int", None))
        with pytest.raises(ValueError, match="^older_than must be at least 0; got nan"):
            await jobs.prune(older_than=NAN)
        assert await jobs.count(state=State.QUEUED) == 1


async def test_readers_that_cannot_be(autojump_clock: MockClock) -> None:
    """A bad cursor or policy is refused when the stream is made."""
    async with open_registry() as jobs:
        handle = await jobs.submit(one)
        for make in (handle.events, handle.stream):
            with pytest.raises(ValueError, match="^after must be at least 0; got -1"):
                make(-1)
            with pytest.raises(TypeError, match="^after takes a whole number; got 1.5"):
                make(cast("int", 1.5))
            with pytest.raises(ValueError, match="^policy must be one of 'block', 'gap'"):
                make(policy=cast("Any", "drop"))
        with pytest.raises(ValueError, match="^restarts must be one of 'raise', 'continue'"):
            handle.stream(restarts=cast("Any", "ignore"))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Debounce(-1, 5), ValueError, r"^seconds must be at least 0"),
        (lambda: Debounce(1, INF), ValueError, r"^at_most must be finite"),
        (lambda: Debounce(5, 1), ValueError, r"^at_most must be at least seconds, .*; got 1 and 5"),
        (lambda: Debounce(cast("float", "1"), 1), TypeError, r"^seconds takes a number"),
        (lambda: Retry(attempts=0), ValueError, r"^attempts must be at least 1; got 0"),
        (lambda: Retry(attempts=cast("int", 1.5)), TypeError, r"^attempts takes a whole number"),
        (lambda: Retry(initial=-1), ValueError, r"^initial must be at least 0"),
        (lambda: Retry(initial=INF), ValueError, r"^initial must be finite"),
        (lambda: Retry(factor=0.5), ValueError, r"^factor must be at least 1"),
        (lambda: Retry(maximum=NAN), ValueError, r"^maximum must be at least 0"),
        (lambda: Retry(jitter=1.1), ValueError, r"^jitter must be at least 0 and at most 1"),
        (lambda: Retry(on=cast("Any", int)), TypeError, r"^on takes an exception class"),
        (lambda: Retry(on=cast("Any", (OSError, 5))), TypeError, r"^on takes .* a tuple of them"),
        (lambda: Retry(on=cast("Any", None)), TypeError, r"^on takes .*; got None"),
        (lambda: Timeouts(run=-1), ValueError, r"^run must be at least 0"),
        (lambda: Timeouts(queue=NAN), ValueError, r"^queue must be at least 0"),
        (lambda: Timeouts(first_token=cast("float", "1")), TypeError, r"^first_token takes a number"),
        (lambda: Timeouts(idle=-1), ValueError, r"^idle must be at least 0"),
        (lambda: Retention(events=0), ValueError, r"^events must be at least 1"),
        (lambda: Retention(finished=cast("int", INF)), TypeError, r"^finished takes a whole number"),
        (lambda: RetryAfter(-1), ValueError, r"^RetryAfter takes seconds"),
        (lambda: RetryAfter(10**400, "later"), ValueError, r"^RetryAfter takes seconds, .*; got 1000"),
        (lambda: RetryAfter(NAN), ValueError, r"^RetryAfter takes seconds, .*; got nan"),
        (lambda: RetryAfter(cast("Any", "5")), TypeError, r"^RetryAfter takes seconds as a number; got '5'"),
        (lambda: AwaitInput("an answer", -1), ValueError, r"^AwaitInput takes seconds, .*; got -1"),
        (lambda: AwaitInput("", True), TypeError, r"^AwaitInput takes seconds as a number; got True"),
        (lambda: AwaitInput(cast("Any", 60)), TypeError, r"^AwaitInput takes a str as its message; got 60"),
        (lambda: handler(cast("Any", plain)), TypeError, r"^plain is not an async function"),
        (lambda: handler(cast("Any", "one")), TypeError, r"^a name is .*: write @handler\(name='one'\)"),
        (lambda: handler(timeout=-1)(one), ValueError, r"^timeout must be at least 0"),
        (lambda: handler(name="\0")(one), InvalidPayload, r"^name holds NUL"),
        (lambda: Priority(9), ValueError, r"9 is not a valid Priority"),
    ],
)
def test_records_that_cannot_be(make: Any, error: type[Exception], match: str) -> None:
    """A record with a bad field is refused when it is made, by the field's name."""
    with pytest.raises(error, match=match):
        make()


# ------------------------------------------------------------------------------- fine after all


async def test_any_object_is_a_token_in_memory(autojump_clock: MockClock) -> None:
    """A store in memory keeps the object itself: a bare one, None, a function, a lone surrogate."""
    values = [object(), None, print, "\ud800\0", ..., float("nan"), [], StopIteration()]

    async def send(job: JobContext[Any]) -> object:
        await job.send_many(values)
        return values[0]

    async with open_registry() as jobs:
        handle = await jobs.submit(send)
        async with handle.stream() as tokens:
            got = [token async for token in tokens]
        assert len(got) == len(values)
        assert all(a is b for a, b in zip(got, values, strict=True))
        assert await handle.result() is values[0]


async def test_timeouts_of_0_and_infinity(autojump_clock: MockClock) -> None:
    """A timeout of 0 passes at the first checkpoint; an infinite one never does."""

    async def nap(job: JobContext[Any]) -> None:
        await trio.sleep(10)

    async with open_registry() as jobs:
        job = await (await jobs.submit(nap, timeout=0)).wait()
        assert (job.state, job.reason) == (State.FAILED, Reason.TIMEOUT)
        job = await (await jobs.submit(nap, timeout=INF)).wait()
        assert job.state is State.COMPLETED


async def test_long_and_odd_texts(autojump_clock: MockClock) -> None:
    """Tags, owners and keys may be empty, long, and in any script."""
    for text in ("", " ", "x" * 100, "☃ Ünïcode 漢字 \u202e", "[DONE]", "'; DROP TABLE jobs; --", "\n"):
        async with open_registry() as jobs:
            handle = await jobs.submit(one, tags={text: text}, owner=text, key=text)
            job = await handle.snapshot()
            assert (job.tags, job.owner, job.key) == ({text: text}, text, text)
            assert await jobs.count(tags={text: text}, owner=text) == 1
            assert await jobs.submit(one, tags={text: text}, owner=text, key=text) == handle


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"x" * 101: ""}, "got 101 and 0 for 'xxx"),
        ({"x": "y" * 501}, "got 1 and 501 for 'x'"),
        ({str(number): "" for number in range(65)}, "got 65"),
    ],
)
async def test_tags_are_few_and_short(tags: dict[str, str], said: str) -> None:
    """A job has at most 64 tags, of names up to 100 characters and values up to 500: more is refused."""
    async with open_registry() as jobs:
        with pytest.raises(ValueError, match=said):
            await jobs.submit(one, tags=tags)
        assert await jobs.count() == 0


# ------------------------------------------------------------------------------- what handlers raise


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def recurse() -> None:
    recurse()


async def raise_this(job: JobContext[Any], error: BaseException) -> None:
    raise error


async def recurse_for_ever(job: JobContext[Any]) -> None:
    recurse()


@pytest.mark.parametrize(
    ("error", "kind", "match"),
    [
        (SystemExit(3), "SystemExit", "3"),
        (GeneratorExit(), "GeneratorExit", "^$"),
        (StopIteration("x"), "RuntimeError", "StopIteration"),
        (StopAsyncIteration("x"), "StopAsyncIteration", "^x$"),
        (ExceptionGroup("g", [OSError("a")]), "OSError", "a"),
        (
            ExceptionGroup("g", [OSError("a"), ExceptionGroup("h", [KeyError("b")])]),
            "ExceptionGroup",
            "2 errors",
        ),
        (BaseExceptionGroup("g", [SystemExit(1)]), "SystemExit", "1"),
        (Mute(), "Mute", "its text cannot be shown"),
        (ValueError("\ud800\0"), "ValueError", r"\?"),
        (ValueError(), "ValueError", "^$"),
    ],
)
async def test_whatever_a_handler_raises_is_its_failure(
    autojump_clock: MockClock, error: BaseException, kind: str, match: str
) -> None:
    """Any exception ends its job as FAILED with a readable record; the registry and the next job go on."""
    async with open_registry() as jobs:
        handle = await jobs.submit(raise_this, error)
        with pytest.raises(JobFailed) as failed:
            await handle.result()
        record = failed.value.error
        assert record is not None
        assert record.type == kind
        assert re.search(match, record.message)
        assert record.traceback
        assert (await handle.snapshot()).reason is Reason.ERROR
        assert await (await jobs.submit(one, 1)).result() == 1


async def test_endless_recursion_in_a_handler(autojump_clock: MockClock) -> None:
    """A RecursionError is the job's failure like any other."""
    async with open_registry() as jobs:
        with pytest.raises(JobFailed, match="recursion depth") as failed:
            await (await jobs.submit(recurse_for_ever)).result()
        assert failed.value.error is not None
        assert failed.value.error.type == "RecursionError"


async def test_a_huge_message_is_cut(autojump_clock: MockClock) -> None:
    """An exception with a message of 100 MB has a record of a few KiB, with both ends of the message."""
    async with open_registry() as jobs:
        handle = await jobs.submit(raise_this, ValueError("begin" + "x" * 100_000_000 + "end"))
        error = (await handle.wait()).error
        assert error is not None
        assert error.message.startswith("begin")
        assert error.message.endswith("end")
        assert "… cut …" in error.message
        assert len(error.message.encode()) <= 16 * 1024
        assert len(error.traceback.encode()) <= 16 * 1024


async def test_an_on_that_raises(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """A broken `Retry.on` does not stop the registry: the job fails with its own error."""

    def broken(error: BaseException) -> bool:
        raise ZeroDivisionError

    async with open_registry() as jobs:
        handle = await jobs.submit(raise_this, OSError("mine"), retry=Retry(attempts=3, on=broken))
        job = await handle.wait()
        assert job.error is not None
        assert (job.state, job.attempt, job.error.message) == (State.FAILED, 1, "mine")
    assert "Retry.on raised" in caplog.text


async def test_an_old_cancelled_is_a_failure_not_a_cancellation(autojump_clock: MockClock) -> None:
    """A handler that raises a Cancelled of an earlier scope, while nothing is cancelled, has failed."""

    async def keep_and_raise(job: JobContext[Any]) -> None:
        kept: list[trio.Cancelled] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                kept.append(cancelled)
                raise
        raise kept[0]

    async with open_registry() as jobs:
        job = await (await jobs.submit(keep_and_raise)).wait()
        assert (job.state, job.reason) == (State.FAILED, Reason.ERROR)


async def test_a_handler_that_leaves_tasks_to_the_wrong_nursery(autojump_clock: MockClock) -> None:
    """A failure in `job.nursery` fails the job even if the handler itself returned."""

    async def later() -> None:
        await trio.sleep(1)
        raise OSError("in the background")

    async def start_and_return(job: JobContext[Any]) -> str:
        job.nursery.start_soon(later)
        return "value"

    async with open_registry() as jobs:
        job = await (await jobs.submit(start_and_return)).wait()
        assert job.error is not None
        assert (job.state, job.error.message, job.result) == (State.FAILED, "in the background", None)


async def test_bad_words_of_a_handler(autojump_clock: MockClock) -> None:
    """A wrong argument of a handler is refused at its call, and writes nothing to the log."""

    async def misuse(job: JobContext[Any]) -> str:
        with pytest.raises(ValueError, match="^done must be at least 0"):
            await job.progress(-1)
        with pytest.raises(ValueError, match="^total must be at least 0; got nan"):
            await job.progress(1, NAN)
        with pytest.raises(TypeError, match="^done takes a number"):
            await job.progress(cast("float", "half"))
        with pytest.raises(TypeError, match="not iterable"):
            await job.send_many(cast("Any", 5))
        return "fine"

    async with open_registry() as jobs:
        handle = await jobs.submit(misuse)
        assert await handle.result() == "fine"
        assert (await handle.snapshot()).last_seq == 3


async def test_a_token_that_is_too_large(autojump_clock: MockClock) -> None:
    """A token over the limit fails its job with reason `limit`, caught or not; earlier ones stay."""

    async def send(job: JobContext[str]) -> None:
        await job.send("small")
        try:
            await job.send("x" * 5000)
        except InvalidPayload:
            await trio.lowlevel.checkpoint()

    async with open_registry(retention=Retention(token_bytes=1000)) as jobs:
        handle = await jobs.submit(send, retry=Retry(attempts=3))
        tokens = []
        with pytest.raises(JobFailed, match=r"5\d\d\d bytes is over .*1000") as failed:
            async with handle.stream() as stream:
                async for token in stream:
                    tokens.append(token)
        assert (tokens, failed.value.reason, failed.value.attempt) == (["small"], Reason.LIMIT, 1)


async def test_the_registry_outlives_a_hundred_bad_handlers(autojump_clock: MockClock) -> None:
    """Of every kind of failure at once, each is only its job's, and the registry still works."""
    errors = [SystemExit(1), OSError(), Mute(), ExceptionGroup("g", [KeyError()]), GeneratorExit()]
    async with open_registry(capacity=7) as jobs:
        for n in range(100):
            await jobs.submit(raise_this, errors[n % 5])
        await wait_all_tasks_blocked()
        assert await jobs.count(state=State.FAILED) == 100
        assert await (await jobs.submit(one, 1)).result() == 1
