"""The official client on Trio, with the part of it that reads tasks, which the package leaves to programs."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
import mcp_types as mcp
import trio
from mcp.client import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from pydantic import ConfigDict

from trio_jobs.serving.fronts.mcp.tasks import EXTENSION

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # a client of its own would load the system's authorities


class Created(mcp.Result):
    """The answer to a call that became a task."""

    result_type: Literal["task"] = "task"
    task_id: str


class Params(mcp.RequestParams):
    """The parameters of all methods of tasks."""

    task_id: str
    input_responses: dict[str, Any] | None = None


class Request(mcp.Request[Params, str]):
    """A request about a task."""

    name_param = "taskId"


class Task(mcp.Result):
    """A task, with the fields that it came with."""

    model_config = ConfigDict(extra="allow")


async def ask(session: ClientSession, method: str, task_id: str, responses: Any = None) -> dict[str, Any]:
    """Ask about a task, and return what came."""
    params = Params(task_id=task_id, input_responses=responses)
    found = await session.send_request(Request(method=method, params=params), Task)
    return found.model_dump(by_alias=True)


class Tasks(ClientExtension):
    """Reads a task to its end, and answers what it asks.

    Args:
        answer: Returns the answer to a request for input.

    Attributes:
        seen: Every task that came.
    """

    identifier = EXTENSION

    def __init__(self, answer: Callable[[Any], Any] | None = None) -> None:
        self.seen: list[dict[str, Any]] = []
        self._answer = answer

    def claims(self) -> Sequence[ResultClaim[Any]]:
        """Return the shape of what is read."""
        return [ResultClaim(result_type="task", model=Created, resolve=self._read)]

    async def _read(self, created: Created, context: ClaimContext) -> mcp.CallToolResult:
        while True:
            task = await ask(context.session, "tasks/get", created.task_id)
            asked = task.get("inputRequests", {})
            if not self.seen or (self.seen[-1]["status"], self.seen[-1].get("inputRequests", {})) != (
                task["status"],
                asked,
            ):
                self.seen.append(task)
                if asked:
                    assert self._answer is not None
                    responses = {key: self._answer(one) for key, one in asked.items()}
                    await ask(context.session, "tasks/update", created.task_id, responses)
            if task["status"] == "completed":
                return mcp.CallToolResult.model_validate(task["result"])
            if task["status"] in {"failed", "cancelled"}:
                return mcp.CallToolResult(content=[], is_error=True)
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def client_of(
    url: str,
    *extensions: ClientExtension,
    mode: Literal["auto", "legacy", "2026-07-28"] = "auto",
    **headers: str,
) -> AsyncGenerator[Client]:
    """Yield a client of a server of jobs; headers are by their names in lower case, with `_` for `-`."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=30, verify=NO_TLS, headers=headers) as http,
        Client(
            streamable_http_client(f"{url}/mcp", http_client=http), mode=mode, extensions=list(extensions)
        ) as client,
    ):
        yield client


async def created(client: Client, tool: str, arguments: dict[str, Any] | None = None) -> str:
    """Call a tool, and return the id of the task that this has made."""
    found = await client.session.call_tool(tool, arguments, allow_claimed=True)
    assert isinstance(found, Created)
    return found.task_id
