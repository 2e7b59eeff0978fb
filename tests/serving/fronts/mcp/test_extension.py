"""Jobs in a server of the official SDK, beside its own tools, over pipes as well as within the process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as mcp
import pytest
import trio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError

from tests.serving.fronts.mcp.client import Tasks, ask, created
from tests.serving.fronts.mcp.test_front import call_of
from trio_jobs import JobContext, handler, open_registry
from trio_jobs.serving import Caller, Limits, mcp_extension

PATIENCE = 60.0  # a program has to start

PROGRAM = """
import trio
from mcp.server.mcpserver import MCPServer
import trio_jobs
from trio_jobs.serving import mcp_extension

@trio_jobs.handler
async def double(job: trio_jobs.JobContext[int], number: int) -> int:
    return 2 * number

async def main() -> None:
    async with trio_jobs.open_registry(handlers=[double]) as jobs:
        await MCPServer("test", extensions=[mcp_extension(jobs)], log_level="ERROR").run_stdio_async()

trio.run(main)
"""


@handler
async def double(job: JobContext[Any], number: int, times: int = 1) -> int:
    """Double a number."""
    return number << times


async def test_handlers_are_tools_beside_others() -> None:
    """A tool of the server's own is answered by the server, and each handler by a job."""
    async with open_registry(handlers=[double]) as jobs:
        server = MCPServer("test", extensions=[mcp_extension(jobs)])

        @server.tool()
        def plain() -> str:
            return "no job"

        tasks = Tasks()
        with trio.fail_after(PATIENCE):
            async with Client(server, extensions=[tasks]) as client:
                found = {one.name: one for one in (await client.list_tools()).tools}
                assert set(found) == {"plain", "double"}
                assert found["double"].description == "Double a number."
                properties: Mapping[str, Any] = found["double"].input_schema["properties"]
                assert [(name, one["type"]) for name, one in properties.items()] == [
                    ("number", "integer"),
                    ("times", "integer"),
                ]
                assert found["double"].input_schema["required"] == ["number"]
                [block] = (await client.call_tool("double", {"number": 3, "times": 2})).content
                assert isinstance(block, mcp.TextContent)
                assert block.text == "12"
                assert len(tasks.seen) > 0
                [block] = (await client.call_tool("plain")).content
                assert isinstance(block, mcp.TextContent)
                assert block.text == "no job"
        assert [one.handler for one in (await jobs.find()).jobs] == ["double"]


async def test_without_headers_a_caller_is_nobody() -> None:
    """Within the process, as over pipes, there are no headers, so `authenticate` gets none, and decides."""

    async def knows(headers: Mapping[str, str]) -> Caller | None:
        assert not headers
        return callers.pop()

    callers: list[Caller | None] = [None, Caller("bob"), Caller("ann")]
    async with open_registry(handlers=[double]) as jobs:
        server = MCPServer("test", extensions=[mcp_extension(jobs, authenticate=knows)])
        async with Client(server, extensions=[Tasks()]) as client:
            task_id = await created(client, "double", {"number": 3})
            for code, number in (
                ("unknown_job", mcp.INVALID_PARAMS),
                ("unauthenticated", mcp.INVALID_PARAMS),
                ("internal", mcp.INTERNAL_ERROR),  # as it raises an error, which is not told
            ):
                with pytest.raises(MCPError) as caught:
                    await ask(client.session, "tasks/get", task_id)
                assert (caught.value.code, caught.value.data) == (number, {"code": code})
                assert "pop from" not in caught.value.message
        assert (await (await jobs.get(task_id)).snapshot()).owner == "ann"


async def test_an_owner_has_no_more_jobs_in_the_queue_than_it_may() -> None:
    """The limit is that which the extension was given."""

    async def knows(_: Mapping[str, str]) -> Caller:
        return Caller("ann")

    async with open_registry(handlers=[double], capacity=0) as jobs:
        extension = mcp_extension(jobs, authenticate=knows, limits=Limits(queued=1))
        async with Client(MCPServer("test", extensions=[extension]), extensions=[Tasks()]) as client:
            await created(client, "double", {"number": 3})
            with pytest.raises(MCPError) as caught:
                await created(client, "double", {"number": 3})
            assert caught.value.data == {"code": "too_many"}


async def test_over_http_a_caller_is_who_the_headers_say() -> None:
    """A server of the SDK that is served over HTTP gives `authenticate` the headers of each request."""

    async def knows(headers: Mapping[str, str]) -> Caller | None:
        return Caller("ann") if headers.get("x-user") == "ann" else None

    async with open_registry(handlers=[double]) as jobs:
        server = MCPServer("test", extensions=[mcp_extension(jobs, authenticate=knows)])
        transport = httpx2.ASGITransport(server.streamable_http_app(stateless_http=True, json_response=True))
        async with (
            server.session_manager.run(),
            httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http,
        ):
            call = call_of("double", number=3)
            refused = await http.post("/mcp", **call)
            assert refused.json()["error"]["data"] == {"code": "unauthenticated"}
            answer = await http.post("/mcp", **{**call, "headers": {**call["headers"], "x-user": "ann"}})
            assert answer.json()["result"]["content"] == [{"type": "text", "text": "6"}]
        [job] = (await jobs.find()).jobs
        assert job.owner == "ann"


@pytest.mark.deep  # it starts a process
async def test_jobs_over_pipes(tmp_path: Path) -> None:
    """A server on Trio that is started by its client, as most are, does the same."""
    (tmp_path / "server.py").write_text(PROGRAM)
    with trio.fail_after(PATIENCE):
        command = StdioServerParameters(command=sys.executable, args=[str(tmp_path / "server.py")])
        async with Client(command, extensions=[Tasks()]) as client:
            [block] = (await client.call_tool("double", {"number": 21})).content
            assert isinstance(block, mcp.TextContent)
            assert block.text == "42"
