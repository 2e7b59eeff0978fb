"""The handler of docs/howto/llm.md, with a server that implements the API as real ones do, with faults."""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import hypercorn
import hypercorn.trio
import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import trio_jobs
from trio_jobs._model.handler import mark_of

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "llm.md"
WAIT = 30.0  # seconds before a hang fails its test; no test passes because of it
SAID = [{"role": "user", "content": "hello"}]


def chunk(text: str | None, why: str | None = None, **more: Any) -> bytes:
    """Return a chunk of an answer as llama.cpp, vLLM and Ollama send it."""
    delta = {"role": "assistant", "content": text, **more}
    choice = {"index": 0, "delta": delta, "finish_reason": why}
    return sse({"object": "chat.completion.chunk", "choices": [choice]})


def sse(record: Any) -> bytes:
    """Return an event of a stream."""
    return f"data: {json.dumps(record)}\n\n".encode()


@attrs.define
class Model:
    """A server of a language model that answers as it is told.

    Attributes:
        answers: What to do for each request in turn; the last one for all that follow.
        asked: The bodies of the requests.
        keys: What they were authorised by.
        left: Set when somebody closed the connection before the answer was over.
    """

    answers: list[Callable[[], Response]]
    asked: list[Any] = attrs.field(factory=list)
    keys: list[str | None] = attrs.field(factory=list)
    left: trio.Event = attrs.field(factory=trio.Event)

    async def completions(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]()

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self.completions, methods=["POST"])])

    def says(self, *texts: str | None, end: bytes = b"data: [DONE]\n\n") -> Callable[[], Response]:
        """Return an answer that streams these texts."""

        async def body() -> AsyncIterator[bytes]:
            for text in texts:
                yield chunk(text)
            yield end

        return lambda: StreamingResponse(body(), media_type="text/event-stream")

    def goes_on(self, text: str, pace: float = math.inf) -> Callable[[], Response]:
        """Return an answer that streams a text again and again, until the client leaves."""

        async def body() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield chunk(text)
                    await trio.sleep(pace)
            finally:
                self.left.set()

        return lambda: StreamingResponse(body(), media_type="text/event-stream")


def refuses(status: int, **headers: str) -> Callable[[], Response]:
    """Return an answer that refuses a request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: JSONResponse({"error": {"message": "no such model"}}, status, named)


@pytest.fixture
def llm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the page's module, with no wait before a retry."""
    blocks = re.findall(
        r"^```python\n(# llm\.py\n.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "llm.py").write_text("".join(blocks), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llm", raising=False)
    monkeypatch.delenv("LLM_KEY", raising=False)
    return importlib.import_module("llm")


@pytest.fixture
def model() -> Model:
    """Yield a model that says hello."""
    made = Model([])
    made.answers.append(made.says(None, "Hel", "lo", ""))
    return made


@pytest.fixture
async def jobs(
    llm: Any, model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[trio_jobs.JobRegistry]:
    """Yield a registry on a file, with the model's server at `LLM_URL`."""
    config = hypercorn.Config.from_mapping(bind=["127.0.0.1:0"], accesslog=None, errorlog=None)
    with trio.fail_after(WAIT):
        async with trio.open_nursery() as nursery:
            urls = await nursery.start(hypercorn.trio.serve, model.app(), config)
            monkeypatch.setenv("LLM_URL", urls[0])
            async with trio_jobs.open_registry(f"sqlite:///{tmp_path}/j.db", handlers=llm.handlers) as opened:
                yield opened
            nursery.cancel_scope.cancel()


def at_once(handler: Any, **changes: Any) -> Any:
    """Return the handler's retry rule, without waits."""
    return attrs.evolve(mark_of(handler).options.retry, initial=0, **changes)


async def test_the_answer_is_streamed_and_returned(llm: Any, model: Model, jobs: Any) -> None:
    """Each part of the text is a token, chunks without text are none, and the result is the whole text."""
    handle = await jobs.submit(llm.chat, SAID, "small", 7)
    async with handle.stream() as pieces:
        assert [piece async for piece in pieces] == ["Hel", "lo"]
    assert (await handle.result())["content"] == "Hello"
    usage = {"include_usage": True}
    asked = {"model": "small", "messages": SAID, "max_tokens": 7, "stream": True, "stream_options": usage}
    assert model.asked == [asked]
    assert model.keys == [None]


USAGE = {"prompt_tokens": 3, "completion_tokens": 5}


async def test_reasoning_is_apart_from_the_answer(llm: Any, model: Model, jobs: Any) -> None:
    """Reasoning is tokens of its own shape, or none if it is not wanted; the result has it, with the reason
    why the model ended and what it took."""
    end = chunk("", "length") + sse({"choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"
    thinks = chunk(None, reasoning_content="Hm") + chunk(None, reasoning="! ") + chunk("Hello")
    model.answers = [model.says(end=thinks + end)]
    for wanted, sent in ((True, [{"reasoning": "Hm"}, {"reasoning": "! "}, "Hello"]), (False, ["Hello"])):
        handle = await jobs.submit(llm.chat, SAID, "small", 7, wanted)
        async with handle.stream() as pieces:
            assert [piece async for piece in pieces] == sent
        assert await handle.result() == {
            "content": "Hello",
            "reasoning": "Hm! ",
            "tool_calls": [],
            "finish_reason": "length",
            "usage": USAGE,
        }


async def test_tool_calls_are_passed_on(llm: Any, model: Model, jobs: Any) -> None:
    """Tools are offered to the model, and its calls, which come in pieces, are whole in the result."""

    def piece(index: int, **function: str) -> bytes:
        start = {"id": f"call {index}", "type": "function"} if "name" in function else {}
        return chunk(None, tool_calls=[{"index": index, **start, "function": function}])

    body = piece(0, name="add", arguments='{"one') + piece(0, arguments='": 1}') + piece(1, name="now")
    model.answers = [model.says(end=body + chunk(None, "tool_calls") + b"data: [DONE]\n\n")]
    tools = [{"type": "function", "function": {"name": "add"}}]
    result = await (await jobs.submit(llm.chat, SAID, "small", 7, True, tools)).result()
    assert model.asked[0]["tools"] == tools
    assert (result["content"], result["finish_reason"]) == ("", "tool_calls")
    assert result["tool_calls"] == [
        {"id": "call 0", "name": "add", "arguments": '{"one": 1}'},
        {"id": "call 1", "name": "now", "arguments": ""},
    ]


async def test_a_retry_repeats_no_text(llm: Any, model: Model, jobs: Any) -> None:
    """With `resume`, an answer that broke off is given to the model, and its readers get the rest only."""
    model.answers = [model.says("Hel", end=b""), model.says("lo")]
    handle = await jobs.submit(llm.chat, SAID, "small", 7, True, None, True, retry=at_once(llm.chat))
    async with handle.stream(restarts="continue") as pieces:
        assert [piece async for piece in pieces] == ["Hel", "lo"]
    assert (await handle.result())["content"] == "Hello"
    assert model.asked[1]["messages"] == [*SAID, {"role": "assistant", "content": "Hel"}]


async def test_a_key_is_sent_and_kept_out_of_the_log(
    llm: Any, model: Model, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's key authorises the request, and is in no record of a job that fails by it."""
    monkeypatch.setenv("LLM_KEY", "sk-secret")
    model.answers = [refuses(401)]
    job = await (await jobs.submit(llm.chat, SAID, "small")).wait()
    assert model.keys == ["Bearer sk-secret"]
    assert "no such model" in job.error.message
    assert "sk-secret" not in repr(job) + job.error.traceback


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # httpx2 leaves its own generators to be collected
@pytest.mark.parametrize("pace", [0, math.inf])
async def test_what_stops_the_job_stops_the_model(llm: Any, model: Model, jobs: Any, pace: float) -> None:
    """A cancelled job closes its connection, whether it waits for the model or for its reader."""
    model.answers = [model.goes_on("Hel", pace)]
    handle = await jobs.submit(llm.chat, SAID, "small")
    async with handle.stream(policy="block") as pieces:
        assert await pieces.receive() == "Hel"
        assert not model.left.is_set()
        assert (await handle.cancel("changed my mind")).outcome == "cancelled"
        await model.left.wait()


async def test_silence_is_timed(llm: Any, model: Model, jobs: Any) -> None:
    """A connection to a silent model is closed, and the request repeated."""
    model.answers = [model.goes_on("Hel"), model.says("Hello")]
    limits = trio_jobs.Timeouts(idle=0.05)
    handle = await jobs.submit(llm.chat, SAID, "small", timeouts=limits, retry=at_once(llm.chat))
    assert (await handle.result())["content"] == "Hello"
    await model.left.wait()
    assert [event.data.reason for event in await handle.history() if event.kind == "retried"] == [
        "idle_timeout"
    ]


@pytest.mark.parametrize("status", [429, 503])
async def test_it_waits_as_long_as_it_is_asked_to(llm: Any, model: Model, jobs: Any, status: int) -> None:
    """A busy server gives the time of the next try, which spends no attempt."""
    model.answers = [refuses(status, retry_after="0"), *model.answers]
    handle = await jobs.submit(llm.chat, SAID, "small", retry=trio_jobs.Retry(attempts=1))
    assert (await handle.result())["content"] == "Hello"
    job = await handle.snapshot()
    assert (job.attempt, job.spent) == (2, 1)


BROKEN = [
    pytest.param(refuses(500), id="500"),
    pytest.param(refuses(429), id="429 without a time"),
    pytest.param(refuses(503, retry_after="Fri, 27 Nov 2026 07:28:00 GMT"), id="503 with a date"),
    pytest.param(Model([]).says("Hel", end=b""), id="cut off"),
    pytest.param(
        Model([]).says("Hel", end=b'data: {"error": {"message": "memory"}}\n\ndata: [DONE]\n\n'), id="error"
    ),
]


@pytest.mark.parametrize("answer", BROKEN)
async def test_what_may_pass_is_tried_again(
    llm: Any, model: Model, jobs: Any, answer: Callable[[], Response]
) -> None:
    """An error of the server spends an attempt; the next may work, and after the last one the job fails."""
    model.answers = [answer, *model.answers]
    handle = await jobs.submit(llm.chat, SAID, "small", retry=at_once(llm.chat))
    assert (await handle.result())["content"] == "Hello"
    assert (await handle.snapshot()).spent == 2

    model.answers = [answer]
    job = await (await jobs.submit(llm.chat, SAID, "small", retry=at_once(llm.chat, attempts=2))).wait()
    assert (job.state, job.spent) == (trio_jobs.State.FAILED, 2)


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_what_will_not_pass_is_not_tried_again(llm: Any, model: Model, jobs: Any, status: int) -> None:
    """A wrong request fails at once, with the server's message."""
    model.answers = [refuses(status), *model.answers]
    job = await (await jobs.submit(llm.chat, SAID, "none")).wait()
    assert (job.state, job.reason, len(model.asked)) == (trio_jobs.State.FAILED, "error", 1)
    assert f"answered {status}: " in job.error.message
    assert "no such model" in job.error.message


async def test_no_server_is_tried_again(llm: Any, jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there is no server yet, the job is retried."""
    monkeypatch.setenv("LLM_URL", "http://127.0.0.1:9")  # discard: nobody listens there
    job = await (await jobs.submit(llm.chat, SAID, "small", retry=at_once(llm.chat, attempts=2))).wait()
    assert (job.error.type, job.spent) == ("ConnectError", 2)


async def test_answers_are_kept_for_the_next_attempt(llm: Any, model: Model, jobs: Any) -> None:
    """An attempt resumes at the question that failed, and sends the model its earlier answers."""
    model.answers = [model.says("I am"), refuses(500), model.says("because")]
    handle = await jobs.submit(llm.interview, ["who?", "why?"], "small", retry=at_once(llm.interview))
    assert await handle.result() == ["I am", "because"]
    assert [len(asked["messages"]) for asked in model.asked] == [1, 3, 3]
    assert [message["content"] for message in model.asked[-1]["messages"]] == ["who?", "I am", "why?"]
