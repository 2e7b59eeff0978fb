"""The official client and a real server, both on Trio: tools are called, tasks read, answered, cancelled."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import httpx2
import pytest
import trio
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from tests.serving.fronts.mcp.client import Tasks, ask, client_of, created
from tests.serving.proxy import Weather, open_proxy
from tests.serving.served import Site, served
from trio_jobs import AwaitInput, JobContext, Retry, State, Timeouts, handler, open_registry
from trio_jobs.serving import Caller, front_app, mcp_front
from trio_jobs.serving.context import ServerContext
from trio_jobs.serving.fronts.mcp.tasks import EXTENSION
from trio_jobs.serving.limits import DEFAULT

# The client leaves its own generators to Trio to close when a stream is left early, or ends.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(httpx2|httpcore2):ResourceWarning")

PATIENCE = 30.0  # the client loads its types when it is used first
WORDS = [f"word-{number} " for number in range(60)]
INVALID, INTERNAL, LACKING = -32602, -32603, -32021


@handler
async def add(job: JobContext[Any], a: int, b: int = 3) -> dict[str, int]:
    """Add two numbers."""
    return {"sum": a + b}


@handler(retry=Retry(attempts=2, initial=0.0))
async def write(job: JobContext[str]) -> None:
    """Write a text, anew once."""
    for word in WORDS if job.attempt == 2 else WORDS[:7]:
        await job.send(word)
    if job.attempt == 1:
        raise ConnectionError("cut off")


@handler(inputs=bool)
async def deploy(job: JobContext[Any], version: str) -> str:
    """Deploy, if somebody says so, twice."""
    if job.attempt < 3:
        if job.attempt == 2:
            await job.receive()
        await job.save(job.attempt)
        raise AwaitInput(f"{version}: sure? {job.attempt}")
    try:
        return "deployed" if await job.receive() else "not deployed"
    except trio.EndOfChannel:
        return "nobody said so"


@handler
async def broken(job: JobContext[Any]) -> None:
    """Fail with a secret."""
    raise ValueError("secret")


class Endless:
    """A tool that ends when it is cancelled and may go on, and notes what it does."""

    def __init__(self) -> None:
        self.started, self.asked, self.stopped = trio.Event(), trio.Event(), trio.Event()
        self.may_stop = trio.Event()
        self.may_stop.set()

        @handler
        async def endless(job: JobContext[Any]) -> None:
            try:
                for number in range(300):
                    await job.progress(number, 300, "on it")
                self.started.set()
                await trio.sleep_forever()
            finally:
                self.asked.set()
                with trio.CancelScope(shield=True):
                    await self.may_stop.wait()
                self.stopped.set()

        self.handler = endless


@asynccontextmanager
async def fronted(
    *handlers: Any, tasks: Tasks | None = None, mode: Any = "auto", **options: Any
) -> AsyncGenerator[tuple[Site, Client]]:
    """Serve tools, and yield the site and a client."""
    extensions = [] if tasks is None else [tasks]
    async with (
        served(
            handlers or (add, write, deploy, broken), fronts=[mcp_front], patience=PATIENCE, **options
        ) as site,
        client_of(site.url, *extensions, mode=mode) as client,
    ):
        yield site, client


def accepted(value: Any) -> dict[str, Any]:
    """Return the answer of somebody who filled in a form."""
    return {"action": "accept", "content": {"value": value}}


def call_of(tool: str, **arguments: Any) -> dict[str, Any]:
    """Return a call as a request of HTTP, as a client without tasks makes it."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": tool}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return {
        "headers": {**headers, "accept": "application/json, text/event-stream"},
        "json": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
    }


async def refused(work: Any) -> MCPError:
    """Return the error that a call ends with."""
    with pytest.raises(MCPError) as caught:
        await work
    return caught.value


async def test_handlers_are_tools() -> None:
    """Every handler is listed with the schema of its arguments, and the server says that it knows tasks."""
    async with fronted() as (_, client):
        found = {one.name: one for one in (await client.list_tools()).tools}
        assert list(found) == ["add", "write", "deploy", "broken"]
        assert found["add"].description == "Add two numbers."
        assert found["add"].input_schema["required"] == ["a"]
        assert client.server_capabilities.extensions == {"io.modelcontextprotocol/tasks": {}}
        assert client.server_info is not None
        assert client.server_info.version == version("trio-jobs")


async def test_a_call_becomes_a_task_and_then_its_result() -> None:
    """The client reads the task to its end; the result is that of the handler, as a text and an object."""
    tasks = Tasks()
    async with fronted(tasks=tasks) as (site, client):
        found = await client.call_tool("add", {"a": 1})
        assert (found.structured_content, found.is_error) == ({"sum": 4}, False)
        job = await (await site.jobs.get(tasks.seen[-1]["taskId"])).snapshot()
        assert (job.handler, job.state, job.args) == ("add", State.COMPLETED, (1,))


async def test_a_streamed_text_is_the_result_of_a_handler_without_one() -> None:
    """It is the text of the last attempt, whole, however long its log is."""

    @handler
    async def count(job: JobContext[str]) -> None:
        for number in range(600):
            await job.send(f"{number} ")

    async with fronted(write, count, tasks=Tasks()) as (_, client):
        for tool, words in (("write", WORDS), ("count", [f"{number} " for number in range(600)])):
            [block] = (await client.call_tool(tool)).content
            assert block.model_dump()["text"] == "".join(words)


async def test_what_a_job_waits_for_is_asked_and_answered() -> None:
    """Each wait is a request with a key of its own, and its answer goes to the handler as an input."""
    asked: list[Any] = []

    def answer(request: Any) -> Any:
        asked.append(request["params"]["message"])
        return accepted(True)

    tasks = Tasks(answer)
    async with fronted(tasks=tasks) as (_, client):
        [block] = (await client.call_tool("deploy", {"version": "1.2"})).content
        assert block.model_dump()["text"] == "deployed"
    assert asked == ["1.2: sure? 1", "1.2: sure? 2"]
    keys = [key for one in tasks.seen for key in one.get("inputRequests", ())]
    assert len(keys) == len(set(keys)) == 2


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_who_does_not_answer_ends_the_inputs(action: str) -> None:
    """The handler is told that no input will come, and decides itself."""
    actions = iter([accepted(True), {"action": action}])
    tasks = Tasks(lambda _: next(actions))
    async with fronted(tasks=tasks) as (_, client):
        [block] = (await client.call_tool("deploy", {"version": "1.2"})).content
        assert block.model_dump()["text"] == "nobody said so"
        late = {"after-attempt-3": accepted(True)}  # which is passed over
        await ask(client.session, "tasks/update", tasks.seen[-1]["taskId"], late)


async def waiting(client: Client) -> tuple[str, str]:
    """Return the id of a task that requires an input, and the key of what it asks."""
    task_id = await created(client, "deploy", {"version": "1"})
    while not (asked := (await ask(client.session, "tasks/get", task_id)).get("inputRequests")):
        await trio.lowlevel.checkpoint()
    return task_id, *asked


async def test_only_what_is_asked_is_answered_and_once() -> None:
    """An answer to another question, or a second one to the same, changes nothing; a wrong one is refused."""
    async with fronted(tasks=Tasks()) as (site, client):
        task_id, key = await waiting(client)

        async def inputs() -> list[Any]:
            job = await (await site.jobs.get(task_id)).snapshot()
            async with (await site.jobs.get(task_id)).events() as events:
                log = [await anext(events) for _ in range(job.last_seq)]
            return [one.data for one in log if one.kind == "input"]

        await ask(client.session, "tasks/update", task_id, {"after-attempt-7": accepted(True)})
        assert await inputs() == []
        odd = {"action": "accept", "content": "value"}
        for wrong in ({"action": "perhaps"}, {}, None, {"action": "accept"}, odd, accepted("no boolean")):
            error = await refused(ask(client.session, "tasks/update", task_id, {key: wrong}))
            assert error.code == INVALID
        assert await inputs() == []
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, client.session, "tasks/update", task_id, {key: accepted(False)})
        await ask(client.session, "tasks/update", task_id, {key: accepted(True)})
        assert await inputs() == [False]


async def test_a_cancel_is_proven() -> None:
    """When it is answered, the handler has stopped and the task is cancelled; its progress is told before."""
    endless = Endless()
    async with fronted(endless.handler, tasks=Tasks()) as (_, client):
        task_id = await created(client, "endless")
        await endless.started.wait()
        task = await ask(client.session, "tasks/get", task_id)
        assert (task["status"], task["statusMessage"]) == ("working", "299 of 300: on it")
        endless.may_stop = trio.Event()
        answered = trio.Event()

        async def cancel() -> None:
            await ask(client.session, "tasks/cancel", task_id)
            assert endless.stopped.is_set()
            answered.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            await endless.asked.wait()
            try:
                for _ in range(3):  # as long as an answer takes, and longer
                    assert (await ask(client.session, "tasks/get", task_id))["status"] == "working"
                assert not answered.is_set()
            finally:
                endless.may_stop.set()
        assert (await ask(client.session, "tasks/get", task_id))["status"] == "cancelled"
        await ask(client.session, "tasks/cancel", task_id)  # which may be said again


async def test_a_failure_is_a_result_without_what_was_raised() -> None:
    """It is marked as an error, for the model to read."""
    tasks = Tasks()
    async with fronted(tasks=tasks) as (_, client):
        assert (await client.call_tool("broken")).is_error
    assert "an error happened" in str(tasks.seen)
    assert "secret" not in str(tasks.seen)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_knows_no_tasks_waits_for_the_result(mode: str) -> None:
    """It gets the result of the call, marked if it is an error; what it would have to answer is refused."""
    async with fronted(mode=mode) as (_, client):
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"sum": 4}
        assert (await client.call_tool("broken")).is_error
        error = await refused(client.call_tool("deploy", {"version": "1"}))
        assert (error.code, error.data) == (
            LACKING,
            {"requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}},
        )
        assert (await refused(ask(client.session, "tasks/get", "any"))).code == LACKING


async def test_a_call_that_is_not_served_is_an_error_of_the_protocol() -> None:
    """A job that failed by no doing of its handler has no result, also for a client that knows no tasks."""

    @handler(timeouts=Timeouts(queue=0.01))
    async def late(job: JobContext[Any]) -> None:
        """Never begin."""

    async with fronted(late, registry={"capacity": 0}) as (_, client):
        error = await refused(client.call_tool("late"))
        told = "the job failed: it waited in the queue longer than it may"
        assert (error.code, error.message) == (INTERNAL, told)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_nobody_waits_for_any_more_is_cancelled(mode: Any) -> None:
    """A client without tasks could not come back to it when it has left."""
    endless = Endless()
    async with served([endless.handler], fronts=[mcp_front], patience=PATIENCE) as site:
        with trio.CancelScope() as leaving:

            async def leave() -> None:
                await endless.started.wait()
                leaving.cancel()

            site.nursery.start_soon(leave)
            async with client_of(site.url, mode=mode) as client:
                await client.call_tool("endless")
        await endless.stopped.wait()


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("nothing", {}, "there is no tool 'nothing'"),
        ("add", {}, "'add' takes 'a', which this request does not have"),
        ("add", {"a": 1, "c": 2}, "has no argument 'c'"),
        ("add", {"a": "one"}, "Expected `int`, got `str`"),
    ],
)
async def test_a_call_that_cannot_be_carried_out_is_refused(
    tool: str, arguments: dict[str, Any], told: str
) -> None:
    """The error says what is wrong, and no job is made."""
    async with fronted(tasks=Tasks()) as (site, client):
        error = await refused(client.call_tool(tool, arguments))
        assert error.code == INVALID
        assert told in error.message
        assert not (await site.jobs.find()).jobs


async def test_a_task_that_there_is_not_is_refused() -> None:
    """By each method."""
    async with fronted(tasks=Tasks()) as (_, client):
        for method, responses in (("tasks/get", None), ("tasks/update", {}), ("tasks/cancel", None)):
            error = await refused(ask(client.session, method, "nothing", responses))
            assert (error.code, error.data) == (INVALID, {"code": "unknown_job"})


async def knows(headers: Mapping[str, str]) -> Caller | None:
    """Know three callers by their tokens."""
    return {
        "Bearer ann": Caller("ann"),
        "Bearer bob": Caller("bob"),
        "Bearer eve": Caller("ann", may="read"),
    }.get(headers.get("authorization", ""))


async def test_tasks_belong_to_their_callers() -> None:
    """Another caller's task is like none, who may only read changes nothing, and a stranger gets a 401."""
    async with served([add, deploy], fronts=[mcp_front], patience=PATIENCE, authenticate=knows) as site:
        async with client_of(site.url, Tasks(), authorization="Bearer ann") as client:
            task_id = await created(client, "add", {"a": 1})
            assert (await (await site.jobs.get(task_id)).snapshot()).owner == "ann"
            asking, key = await waiting(client)
        async with client_of(site.url, Tasks(), authorization="Bearer bob") as client:
            for method, responses in (("tasks/get", None), ("tasks/update", {}), ("tasks/cancel", None)):
                error = await refused(ask(client.session, method, task_id, responses))
                assert error.data == {"code": "unknown_job"}
        async with client_of(site.url, Tasks(), authorization="Bearer eve") as client:
            assert (await ask(client.session, "tasks/get", task_id))["taskId"] == task_id
            for work in (
                client.call_tool("add", {"a": 1}),
                ask(client.session, "tasks/cancel", task_id),
                ask(client.session, "tasks/update", asking, {key: accepted(True)}),
                ask(client.session, "tasks/update", asking, {key: {"action": "decline"}}),
            ):
                assert (await refused(work)).data == {"code": "forbidden"}
        answer = await site.http.post("/mcp", json={})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_a_caller_is_authenticated_once() -> None:
    """A request asks `authenticate` once, as that may cost something."""
    asked: list[str] = []

    async def anybody(_: Mapping[str, str]) -> Caller:
        asked.append("once")
        return Caller(None)

    async with served([add], fronts=[mcp_front], patience=PATIENCE, authenticate=anybody) as site:
        answer = await site.http.post("/mcp", **call_of("add", a=1))
        assert answer.json()["result"]["structuredContent"] == {"sum": 4}
    assert asked == ["once"]


async def test_a_key_makes_one_job_of_a_call_that_is_repeated() -> None:
    """With the header `Idempotency-Key`, a call whose answer was lost can be made again; even if the job has
    ended, it is answered by a task, whose result is to be asked for."""
    async with served([add], fronts=[mcp_front], patience=PATIENCE) as site:
        async with client_of(site.url, Tasks(), idempotency_key="k1") as client:
            ids = {await created(client, "add", {"a": 1}) for _ in range(3)}
        assert len(ids) == 1
        await (await site.jobs.get(*ids)).wait()
        again = call_of("add", a=1)
        again["headers"]["idempotency-key"] = "k1"
        again["json"]["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {
            "extensions": {EXTENSION: {}}
        }
        task = (await site.http.post("/mcp", **again)).json()["result"]
        assert ({task["taskId"]}, task["resultType"], task["status"]) == (ids, "task", "completed")
        assert "result" not in task


async def test_a_call_that_is_waited_for_ends_with_the_server() -> None:
    """A server that stops keeps no connection open for it, and its job is cancelled."""
    endless = Endless()
    async with fronted(endless.handler) as (site, client), trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises((MCPError, httpx2.HTTPError)):
                await client.call_tool("endless")

        async def ask_plainly() -> None:
            answer = await site.http.post("/mcp", **call_of("endless"))
            assert (answer.status_code, answer.json()["code"]) == (503, "closing")

        nursery.start_soon(call)
        nursery.start_soon(ask_plainly)
        await endless.started.wait()
        while len((await site.jobs.find()).jobs) < 2:
            await trio.lowlevel.checkpoint()
        site.stop()
        await site.stopped.wait()
        await endless.stopped.wait()


async def test_a_call_that_is_waited_for_ends_with_its_callers_authentication() -> None:
    """It is not kept open for a caller that is nobody any more."""

    async def knows(_: Mapping[str, str]) -> Caller:
        return Caller(None, expires=0.05)

    endless = Endless()
    async with served([endless.handler], fronts=[mcp_front], patience=PATIENCE, authenticate=knows) as site:
        answer = await site.http.post("/mcp", **call_of("endless"))
        assert (answer.status_code, answer.json()["code"]) == (503, "closing")


async def test_only_a_task_that_is_looked_at_waits_for_room() -> None:
    """While other answers take all the memory that they may, a result waits, and a cancel does not."""
    contexts: list[ServerContext] = []

    def seen(context: ServerContext) -> Sequence[Route]:
        contexts.append(context)
        return mcp_front(context)

    endless = Endless()
    async with served([endless.handler], fronts=[seen], patience=PATIENCE) as site:
        async with client_of(site.url, Tasks()) as client, trio.open_nursery() as nursery:
            task_id = await created(client, "endless")
            looked = trio.Event()

            async def look() -> None:
                task = await ask(client.session, "tasks/get", task_id)
                assert task["status"] == "cancelled"
                looked.set()

            async with contexts[0].operations.account.room(DEFAULT.all_unsent):
                nursery.start_soon(look)
                for _ in range(3):
                    await ask(client.session, "tasks/cancel", task_id)
                assert not looked.is_set()
            await looked.wait()


async def test_it_is_served_alone() -> None:
    """As `front_app`, mounted in an application, it needs no lifespan, and nothing else is reachable."""
    async with open_registry(handlers=[add]) as jobs:
        app = Starlette(routes=[Mount("/inner", front_app(jobs, mcp_front))])
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            assert (await http.get("/inner/v1/jobs")).status_code == 404
            accept = {"accept": "application/json, text/event-stream"}
            asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            assert '"name":"add"' in (await http.post("/inner/mcp", json=asked, headers=accept)).text


async def test_there_is_nothing_but_requests() -> None:
    """A stream of what a server would say by itself, and the end of a session, are answered with 405."""
    async with served([add], fronts=[mcp_front], patience=PATIENCE) as site:
        for method in ("GET", "DELETE"):
            answer = await site.http.request(method, "/mcp", headers={"accept": "text/event-stream"})
            assert answer.status_code == 405


@pytest.mark.parametrize("logger", [None, "mcp.server.streamable_http_manager"])
async def test_it_says_nothing_of_each_request(caplog: pytest.LogCaptureFixture, logger: str | None) -> None:
    """What the SDK would log at INFO for every request is not logged, but for who asks for just that."""
    with caplog.at_level(logging.INFO, logger):
        async with fronted(tasks=Tasks()) as (_, client):
            await client.call_tool("add", {"a": 1})
    assert any("session manager" in one.message for one in caplog.records) is (logger is not None)


@pytest.mark.parametrize("_", range(4))
async def test_a_task_survives_cuts_anywhere(_: int) -> None:
    """However often connections are cut, a call that is repeated is one job, an answer one input, and the
    text is whole, in order, once."""
    cuts = 0
    async with served([write, deploy], fronts=[mcp_front], patience=PATIENCE) as site:

        async def persist(work: Any) -> Any:
            """Do something with a client of its own, again and again until it is not cut off."""
            nonlocal cuts
            while True:
                try:
                    async with client_of(
                        proxy.url, Tasks(), mode="2026-07-28", idempotency_key=f"run {tool}"
                    ) as client:
                        return await work(client)
                except* (MCPError, httpx2.HTTPError) as group:
                    assert not [one for one in group.exceptions if getattr(one, "code", 0) == INVALID]
                    cuts += 1

        weather = Weather(life=2500, piece=300, refusal=0.1)
        async with open_proxy(site.url, weather) as proxy:
            for tool, arguments in (("write", {}), ("deploy", {"version": "1"})):
                task_id = await persist(lambda client: created(client, tool, arguments))  # noqa: B023
                while True:
                    task = await persist(lambda client: ask(client.session, "tasks/get", task_id))  # noqa: B023
                    if task["status"] == "completed":
                        break
                    if asked := task.get("inputRequests"):
                        responses = dict.fromkeys(asked, accepted(True))
                        await persist(
                            lambda client: ask(client.session, "tasks/update", task_id, responses)  # noqa: B023
                        )
                [block] = task["result"]["content"]
                assert block["text"] == {"write": "".join(WORDS), "deploy": "deployed"}[tool]
        assert len((await site.jobs.find()).jobs) == 2
    assert cuts > 0
