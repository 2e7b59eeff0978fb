"""OpenAI's own client and a real server: an answer is created, cut off, resumed, read whole and cancelled."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import httpx2
import hypercorn
import hypercorn.trio
import openai
import pytest
import trio
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.serving.proxy import CALM, Weather, open_proxy
from tests.serving.served import Site, served
from trio_jobs import Job, JobContext, JobRegistry, Retry, handler, open_registry
from trio_jobs.serving import Caller, front_app, http_app, openai_front
from trio_jobs.stores.memory import MemoryStore

# The client leaves its own generators to Trio to close when a stream is left early, or ends.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx2|httpcore2):ResourceWarning")

PATIENCE = 30.0  # the client loads its types when it is used first
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # a client of its own would load the system's authorities
WORDS = [f"word{number} " for number in range(60)]
TEXT = "".join(WORDS)
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@handler
async def chat(job: JobContext[Any], messages: list[Any]) -> None:
    """Reason, then say many words, with a rest between two, so that frames are many."""
    await job.send({"reasoning": "hm"})
    for word in WORDS:
        await job.send(word)
        await trio.lowlevel.checkpoint()


@handler
async def echo(job: JobContext[Any], messages: list[Any], model: str, max_tokens: int = 9) -> dict[str, Any]:
    """Return what it was asked."""
    return {"content": f"{model} {max_tokens} {messages[-1]['content']}", "usage": {"total_tokens": 3}}


class Endless:
    """A model that says one word, waits for ever, and notes that it was stopped."""

    def __init__(self) -> None:
        self.stopped = trio.Event()

        @handler
        async def endless(job: JobContext[Any], messages: list[Any]) -> None:
            try:
                await job.send("here")
                await trio.sleep_forever()
            finally:
                self.stopped.set()

        self.handler = endless


@handler
async def broken(job: JobContext[Any], messages: list[Any]) -> None:
    """Say a word, and fail with a secret."""
    await job.send("here")
    raise ValueError("secret")


@handler
async def other(job: JobContext[Any], text: str) -> None:
    """Is no model."""


@asynccontextmanager
async def client_of(url: str, key: str = "none") -> AsyncGenerator[openai.AsyncOpenAI]:
    """Yield a client that asks once."""
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=30, verify=NO_TLS) as http,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, http_client=http, max_retries=0) as client,
    ):
        yield client


@asynccontextmanager
async def fronted(*handlers: Any, **options: Any) -> AsyncGenerator[tuple[Site, openai.AsyncOpenAI]]:
    """Serve models, and yield the site and a client."""
    async with (
        served(
            handlers or (chat, echo, broken, other), fronts=[openai_front], patience=PATIENCE, **options
        ) as site,
        client_of(site.url) as client,
    ):
        yield site, client


@pytest.mark.parametrize("model", ["chat", "echo/all"])
@pytest.mark.parametrize("_", range(3))
async def test_an_answer_survives_cuts_anywhere(model: str, _: int) -> None:
    """However often a connection is cut, resuming behind the last number gives the text whole and once."""
    whole = TEXT if model == "chat" else "all 9 go"
    async with (
        fronted() as (site, calm),
        open_proxy(site.url, Weather(life=9000 if model == "chat" else 3000, piece=200)) as proxy,
        client_of(proxy.url) as client,
    ):
        response = await calm.responses.create(model=model, input="go", background=True)
        cursor, tries, over = 0, 0, False
        text = ""
        while not over:
            tries += 1
            with suppress(httpx2.HTTPError, openai.APIConnectionError):
                stream = await client.responses.retrieve(response.id, stream=True, starting_after=cursor)
                async with stream:
                    async for event in stream:
                        assert event.sequence_number >= cursor
                        cursor = event.sequence_number
                        if event.type == "response.output_text.delta":
                            text += event.delta
                        elif event.type == "response.completed":
                            over = True
                            assert event.response.output_text == whole
            if not over and tries > 30:
                proxy.weather = CALM
        assert text == whole
        assert tries > 1 or model != "chat"
        again = await calm.responses.retrieve(response.id)
        assert (again.status, again.output_text) == ("completed", whole)


async def test_the_clients_own_accumulation_accepts_the_stream() -> None:
    """The helper that checks the order of events, and collects items, ends with the whole response."""
    async with fronted() as (_, client):
        async with client.responses.stream(model="chat", input="go", background=True) as stream:
            async for _event in stream:
                pass
            final = await stream.get_final_response()
        assert final.output_text == TEXT
        async with client.responses.stream(response_id=final.id, starting_after=5) as stream:
            numbers = [event.sequence_number async for event in stream]
        assert min(numbers) == 6


async def test_arguments_and_results() -> None:
    """A handler gets the fields that it takes; what it returns is the answer, with its numbers of tokens."""
    async with fronted() as (_, client):
        stream = await client.responses.create(
            model="echo/small", input="hi", stream=True, max_output_tokens=5, temperature=1
        )
        async with stream:
            events = [event async for event in stream]
        last = events[-1]
        assert last.type == "response.completed"
        assert last.response.output_text == "small 5 hi"
        assert last.response.usage is not None
        assert last.response.usage.total_tokens == 3
        assert [model.id async for model in client.models.list()] == ["chat", "echo", "broken"]


async def test_a_cancel_is_proven() -> None:
    """A cancel is answered when the handler has stopped, not before, and readers are told; again, too."""
    cancelled, let_go, answered = trio.Event(), trio.Event(), trio.Event()

    @handler
    async def slow(job: JobContext[Any], messages: list[Any]) -> None:
        try:
            await job.send("here")
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                cancelled.set()
                await let_go.wait()

    async with fronted(slow) as (_, client), trio.open_nursery() as nursery:
        response = await client.responses.create(model="slow", input="go", background=True)

        async def cancel() -> None:
            done = await client.responses.cancel(response.id)
            waited = let_go.is_set()
            let_go.set()  # in any case, so that a failure ends
            assert waited
            assert (done.status, done.output_text) == ("cancelled", "here")
            answered.set()

        stream = await client.responses.retrieve(response.id, stream=True)
        async with stream:
            async for event in stream:
                if event.type == "response.output_text.delta":
                    nursery.start_soon(cancel)
                    await cancelled.wait()
                    for _ in range(3):  # round trips in which the cancel is not answered
                        assert (await client.responses.retrieve(response.id)).status == "in_progress"
                    assert not answered.is_set()
                    let_go.set()
        assert event.type == "response.incomplete"
        assert event.response.status == "cancelled"
        await answered.wait()
        assert (await client.responses.cancel(response.id)).status == "cancelled"


async def test_a_background_job_goes_on_without_its_reader() -> None:
    """If the client of a stream leaves, a background job goes on, and any other is cancelled."""
    for background in (True, False):
        endless = Endless()
        async with fronted(endless.handler) as (site, client):
            stream = await client.responses.create(
                model="endless", input="go", background=background, stream=True
            )
            async with stream:
                async for event in stream:
                    if event.type == "response.output_text.delta":
                        break
            (job,) = await site.jobs.find()
            if background:
                while (await site.jobs.statistics()).readers:
                    await trio.lowlevel.checkpoint()
                assert not endless.stopped.is_set()
                assert (await (await site.jobs.get(job.id)).snapshot()).cancel_requested_at is None
            else:
                await endless.stopped.wait()
                assert (await (await site.jobs.get(job.id)).wait()).state == "cancelled"


async def test_a_failure_tells_nothing_of_the_program() -> None:
    """A failure is told without the exception's text, in a stream, as an object and in chunks."""
    async with fronted() as (_, client):
        stream = await client.responses.create(model="broken", input="go", background=True, stream=True)
        async with stream:
            last = [event async for event in stream][-1]
        assert last.type == "response.failed"
        for response in (last.response, await client.responses.retrieve(last.response.id)):
            assert (response.status, response.output_text) == ("failed", "here")
            assert response.error is not None
            assert response.error.message == "the job failed: an error happened"
            assert "secret" not in response.to_json()
        chunks = await client.chat.completions.create(model="broken", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="the job failed: an error happened"):
            async for _chunk in chunks:
                pass


# ------------------------------------------------------------ chat completions


async def test_a_chat_completion_is_streamed() -> None:
    """All words arrive as deltas, in order, behind the role, and the last chunk has a reason to stop."""
    async with fronted() as (_, client):
        chunks = await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
        choices = [chunk.choices[0] async for chunk in chunks]
        assert choices[0].delta.role == "assistant"
        assert "".join(choice.delta.content or "" for choice in choices) == TEXT
        assert choices[-1].finish_reason == "stop"


async def test_who_leaves_a_chat_completion_cancels_it() -> None:
    """There is no coming back to it: the handler is stopped when its only client has gone."""
    endless = Endless()
    async with fronted(endless.handler) as (site, client):
        chunks = await client.chat.completions.create(model="endless", messages=HELLO, stream=True)
        async with chunks:
            async for chunk in chunks:
                if chunk.choices[0].delta.content == "here":
                    break
        await endless.stopped.wait()
        (job,) = await site.jobs.find()
        done = await (await site.jobs.get(job.id)).wait()
        assert (done.state, done.message) == ("cancelled", "its reader left")


async def test_a_request_that_is_repeated_keeps_the_answer_going() -> None:
    """A client tries again when its connection is cut, maybe before the server notices that it is: what the
    second request with the same key reads goes on when the first has left, and ends when both have.
    """
    endless = Endless()
    async with fronted(endless.handler) as (site, client):
        same = {"Idempotency-Key": "one"}
        create = client.chat.completions.create
        first = await create(model="endless", messages=HELLO, stream=True, extra_headers=same)
        of_one = (await site.jobs.statistics()).readers
        second = await create(model="endless", messages=HELLO, stream=True, extra_headers=same)
        async with second:
            async with first:
                async for chunk in first:
                    if chunk.choices[0].delta.content == "here":
                        break
            while (await site.jobs.statistics()).readers > of_one:
                await trio.lowlevel.checkpoint()
            for _ in range(3):  # round trips in which nothing is cancelled
                await client.models.list()
            (job,) = await site.jobs.find()
            assert job.cancel_requested_at is None
            assert not endless.stopped.is_set()
        await endless.stopped.wait()


class FailsOnce(MemoryStore):
    """A store of which the first read of a job fails."""

    failed = False

    async def get(self, job_id: str) -> Job:
        """See `Store.get`."""
        if not self.failed:
            self.failed = True
            raise OSError("the disk was away")
        return await super().get(job_id)


@pytest.mark.parametrize(
    ("path", "asked"), [("/responses", {"input": "go"}), ("/chat/completions", {"messages": HELLO})]
)
async def test_a_stream_that_fails_to_open_cancels_its_job(path: str, asked: dict[str, Any]) -> None:
    """The client has no id to come back with, so the job that was submitted for the stream is stopped."""
    endless = Endless()
    async with fronted(endless.handler, registry={"store": FailsOnce()}) as (site, _):
        answer = await site.http.post(f"/v1{path}", json={"model": "endless", "stream": True, **asked})
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        (job,) = await site.jobs.find()
        assert (await (await site.jobs.get(job.id)).wait()).state == "cancelled"


async def test_a_chat_completion_that_begins_anew_is_an_error() -> None:
    """Text cannot be taken back: a stream ends with an error when another attempt begins, and the job too."""
    tries = 0

    @handler(retry=Retry(attempts=2, initial=0))
    async def flaky(job: JobContext[Any], messages: list[Any]) -> None:
        nonlocal tries
        tries += 1
        await job.send("here")
        if tries == 1:
            raise ValueError("secret")
        await trio.sleep_forever()

    async with fronted(flaky) as (site, client):
        chunks = await client.chat.completions.create(model="flaky", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="the answer begins anew"):
            async for _ in chunks:
                pass
        (job,) = await site.jobs.find()
        assert (await (await site.jobs.get(job.id)).wait()).state == "cancelled"


# ------------------------------------------------------------ access, limits, closing


ASKED: dict[str, Any] = {"model": "chat", "input": "go", "background": True}


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        (
            "/responses",
            {**ASKED, "model": "gpt"},
            404,
            "there is no model 'gpt'; there is chat, echo, broken",
        ),
        ("/responses", {**ASKED, "model": "other"}, 404, "there is no model 'other'"),
        ("/responses", {**ASKED, "model": "echo"}, 400, "name one, as in model='echo/NAME'"),
        ("/responses", {**ASKED, "background": False}, 400, "send background=true, or stream=true"),
        ("/responses", {**ASKED, "previous_response_id": "x"}, 400, "is not kept here"),
        ("/responses", {"model": "chat"}, 400, "missing required field `input`"),
        ("/responses", {**ASKED, "model": "echo/m", "max_output_tokens": "x"}, 400, "max_output_tokens"),
        ("/chat/completions", {"model": "chat", "messages": HELLO}, 400, "send stream=true"),
        ("/responses/unknown/cancel", {}, 404, "unknown"),
    ],
)
async def test_what_is_refused(path: str, body: Any, status: int, told: str) -> None:
    """What cannot be answered is refused at once, in the protocol's form, with what to do instead."""
    async with fronted() as (site, _):
        answer = await site.http.post(f"/v1{path}", json=body)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json"
        error = answer.json()["error"]
        assert told in error["message"]
        assert (error["type"], error["param"]) == ("invalid_request_error", None)
        assert await site.jobs.count() == 0


async def test_cursors_are_checked() -> None:
    """A cursor ahead of the log, one that is no number, and an odd `stream` are refused."""
    async with fronted() as (_, client):
        response = await client.responses.create(model="echo/m", input="go", background=True)
        with pytest.raises(openai.ConflictError):
            await client.responses.retrieve(response.id, stream=True, starting_after=999)
        for query in ({"starting_after": "x"}, {"stream": "maybe"}):
            with pytest.raises(openai.BadRequestError):
                await client.responses.retrieve(response.id, stream=True, extra_query=query)


async def test_a_key_submits_once() -> None:
    """The same idempotency key is the same response."""
    async with fronted() as (site, client):
        key = {"Idempotency-Key": "k"}
        ids = {
            (await client.responses.create(**ASKED, metadata={"a": "1"}, extra_headers=key)).id
            for _ in range(2)
        }
        assert len(ids) == 1
        assert await site.jobs.count() == 1
        assert (await client.responses.retrieve(*ids)).metadata == {"a": "1"}


async def _by_key(headers: Mapping[str, str]) -> Caller | None:
    name = headers.get("authorization", "").removeprefix("Bearer ")
    return None if name == "nobody" else Caller(name, may="read" if name == "guest" else "change")


async def test_owners_see_their_own() -> None:
    """The API key authenticates; another owner's response, and a job of no model, do not exist."""
    async with (
        served((chat, other), fronts=[openai_front], patience=PATIENCE, authenticate=_by_key) as site,
        client_of(site.url, "ann") as ann,
        client_of(site.url, "bob") as bob,
        client_of(site.url, "guest") as guest,
        client_of(site.url, "nobody") as nobody,
    ):
        response = await ann.responses.create(**ASKED)
        assert (await ann.responses.retrieve(response.id)).id == response.id
        as_ann = {"authorization": "Bearer ann"}
        new = {"handler": "other", "args": ["x"]}
        unseen = (await site.http.post("/v1/jobs", json=new, headers=as_ann)).json()["job_id"]
        for client, job_id in ((bob, response.id), (ann, unseen)):
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(job_id)
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(job_id, stream=True)
            with pytest.raises(openai.NotFoundError):
                await client.responses.cancel(job_id)
        with pytest.raises(openai.PermissionDeniedError):
            await guest.responses.create(**ASKED)
        with pytest.raises(openai.AuthenticationError):
            await nobody.responses.create(**ASKED)
        (job,) = await site.jobs.find(owner="ann", handler="chat")
        assert job.id == response.id


async def test_streams_end_when_the_server_stops() -> None:
    """Streams say that they are cut off, so that nobody takes them for whole; a background job goes on."""
    endless = Endless()
    async with fronted(endless.handler) as (site, client):
        background = await client.responses.create(model="endless", input="go", background=True, stream=True)
        chunks = await client.chat.completions.create(model="endless", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="the server stops"):
            async for chunk in chunks:
                if chunk.choices[0].delta.content == "here":
                    site.stop()
        last = [event async for event in background][-1]
        assert last.type == "error"
        assert last.code == "closing"
        await site.stopped.wait()
        states = sorted(job.state for job in [*await site.jobs.find()])
        assert states == ["cancelled", "running"]


@pytest.mark.parametrize("alone", [True, False])
async def test_it_is_mounted_in_an_application(alone: bool) -> None:
    """Under another server and a path, an answer is whole; alone, the front shows nothing but itself."""

    def app(jobs: JobRegistry) -> Any:
        one = front_app(jobs, openai_front) if alone else http_app(jobs, fronts=[openai_front])
        return Starlette(routes=[Mount("/ai", one)])

    quiet = hypercorn.Config.from_mapping(bind=["127.0.0.1:0"], accesslog=None, errorlog=None)
    with trio.fail_after(30):
        async with open_registry(handlers=[chat]) as jobs, trio.open_nursery() as nursery:
            (url,) = await nursery.start(partial(hypercorn.trio.serve, app(jobs), quiet))
            async with client_of(f"{url}/ai") as client:
                stream = await client.responses.create(**ASKED, stream=True)
                async with stream:
                    last = [event async for event in stream][-1]
                assert last.type == "response.completed"
                assert last.response.output_text == TEXT
            async with httpx2.AsyncClient(base_url=f"{url}/ai", trust_env=False) as http:
                assert (await http.get("/v1/jobs")).status_code == (404 if alone else 200)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("wrong", [openai_front, None, "openai", [None], [_by_key]])
def test_a_front_is_checked_early(wrong: Any) -> None:
    """What is no list of fronts is refused when the application is made."""
    with pytest.raises(TypeError, match=r"fronts takes a list of fronts, as \[openai_front\]; got"):
        http_app(None, fronts=wrong)  # type: ignore[arg-type]  # before it is used
