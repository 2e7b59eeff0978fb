"""`mcp_extension`: the handlers of a registry as tools of a server of MCP's SDK, and their jobs as tasks."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import mcp_types as mcp
import msgspec
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, ToolBinding
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from msgspec import UNSET
from pydantic import WithJsonSchema

from ...._common.errors import quoted
from ...._common.states import State
from ...._model.job import Job
from ...._registry.registry import JobRegistry
from ...._wire.options import SubmitOptions
from ...._wire.requests import BadRequest, Cancel, EndInputs, NewJob, Send
from ...context import ServerContext
from ...describe import describe
from ...http.asked import key_of as idempotency_key_of
from ...limits import DEFAULT, Limits
from ...options import Authenticate, Caller, ServerOptions
from ...problems import to_problem
from ..left import Readers
from ..models import job_of, parameters_of
from .forms import Schema, filled_in, tool_of
from .tasks import EXTENSION, Frame, key_of, result_of, said_by, status_of, task_of

Context: TypeAlias = ServerRequestContext[Any, Any]

CALLER: Final = "trio_jobs.caller"
"""Where the scope of a request has the caller, if it was authenticated already."""
_BATCH: Final = 256
_DETAILS: Final = ("inputRequests", "result", "error")
"""What a task has when it is looked at, and not when it is created."""


def mcp_extension(
    jobs: JobRegistry, *, authenticate: Authenticate | None = None, limits: Limits = DEFAULT
) -> JobTasks:
    """Return an extension for a server of the `mcp` package: each handler is a tool, and its jobs are tasks.

    Give it to a server that runs on Trio, as in `MCPServer("name", extensions=[mcp_extension(jobs)])`. The
    registry must be open while the server is used. Hosts and origins are the server's to check. Over stdio,
    `authenticate` gets no headers.

    Args:
        jobs: The registry.
        authenticate: See `ServerOptions`; without it, every caller may do everything.
        limits: Of these, `queued` counts.
    """
    return JobTasks(ServerContext.of(jobs, ServerOptions(authenticate=authenticate, limits=limits)))


class TaskParams(mcp.RequestParams):
    """The parameters of `tasks/get` and `tasks/cancel`."""

    task_id: str


class UpdateParams(TaskParams):
    """The parameters of `tasks/update`."""

    input_responses: dict[str, Any]


class _Answer(msgspec.Struct):
    """What somebody said when a form was shown."""

    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] | None = None


class JobTasks(Extension):
    """The extension of MCP that serves the tasks; `mcp_extension` makes one.

    Args:
        context: The context of a server of the jobs.
    """

    identifier = EXTENSION

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._operations = context.operations
        self._readers = Readers(context.operations)
        self._described = {name: describe(name, fn) for name, fn in context.operations.functions.items()}

    # ------------------------------------------------------------ what a server of the SDK asks for

    def listed(self) -> list[mcp.Tool]:
        """Return the tools."""
        return [mcp.Tool.model_validate(tool_of(one)) for one in self._described.values()]

    def tools(self) -> Sequence[ToolBinding]:
        """Return the tools as functions; see `Extension.tools`."""
        return [_bound(tool_of(one)) for one in self._described.values()]

    def methods(self) -> Sequence[MethodBinding]:
        """Return the methods of tasks; see `Extension.methods`."""
        return [
            MethodBinding("tasks/get", TaskParams, self._for_tasks(self._get)),
            MethodBinding("tasks/update", UpdateParams, self._for_tasks(self._update)),
            MethodBinding("tasks/cancel", TaskParams, self._for_tasks(self._cancel)),
        ]

    async def intercept_tool_call(
        self, params: mcp.CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """Submit a job if a tool is a handler; see `Extension.intercept_tool_call`."""
        if params.name not in self._described:
            return await call_next(ctx)
        return await self.call(ctx, params)

    async def call(self, ctx: Context, params: mcp.CallToolRequestParams) -> HandlerResult:
        """Submit a job, and return its task; or its result, to a client that knows no tasks.

        Raises:
            MCPError: The job is refused, or the client would have to answer it, and knows no tasks.
        """
        inputs = self._inputs_of(params.name)
        if inputs is not None and not _knows_tasks(ctx):
            raise _lacking()

        async def submit(caller: Caller) -> HandlerResult:
            job_id = await self._operations.submit(caller, self._new_job(ctx, params))
            if not _knows_tasks(ctx):
                return await self._whole_result(caller, job_id)
            task = await self._task(caller, job_id)
            return {"resultType": "task"} | {name: task[name] for name in task if name not in _DETAILS}

        return await self._answered(ctx, submit)

    # ------------------------------------------------------------ tasks

    def _for_tasks(
        self, work: Callable[[Caller, Any], Awaitable[Frame]]
    ) -> Callable[[Context, Any], Awaitable[HandlerResult]]:
        async def handle(ctx: Context, params: TaskParams) -> HandlerResult:
            if not _knows_tasks(ctx):
                raise _lacking()
            return await self._answered(ctx, lambda caller: work(caller, params))

        return handle

    async def _get(self, caller: Caller, params: TaskParams) -> Frame:
        return await self._task(caller, params.task_id)

    async def _update(self, caller: Caller, params: UpdateParams) -> Frame:
        """Send the input that the job waits for; answers to anything else are passed over, as is right."""
        job = await self._operations.get(caller, params.task_id)
        inputs, key = self._inputs_of(job.handler), key_of(job)
        if inputs is None or status_of(job, inputs) != "input_required" or key not in params.input_responses:
            return {}
        try:
            answer = msgspec.convert(params.input_responses[key], _Answer)
        except msgspec.ValidationError as error:
            raise BadRequest(f"this is no answer to what was asked: {error}") from None
        if answer.action == "accept":
            value = filled_in(inputs, answer.content or {})
            await self._operations.send(caller, Send(1, job.id, [value], f"mcp {key}"))
        else:
            await self._operations.end_inputs(caller, EndInputs(1, job.id))
        return {}

    async def _cancel(self, caller: Caller, params: TaskParams) -> Frame:
        await self._operations.cancel(caller, Cancel(1, params.task_id))
        return {}

    async def _task(self, caller: Caller, job_id: str) -> Frame:
        job = await self._operations.get(caller, job_id)
        newest = await self._operations.read(job, max(0, job.last_seq - _BATCH), _BATCH)
        return task_of(job, newest, self._inputs_of(job.handler), await self._said(job))

    async def _said(self, job: Job) -> str:
        """Return the text that a job streamed, if that is its result."""
        said, seq = "", 0
        if job.state is State.COMPLETED and job.result is None:
            while events := await self._operations.read(job, seq, _BATCH):
                said, seq = said_by(said, events), events[-1].seq
        return said

    async def _whole_result(self, caller: Caller, job_id: str) -> mcp.CallToolResult:
        """Return the result of a job when it has ended; it is cancelled if all clients leave before."""
        async with self._readers.reading(caller, job_id):
            await self._operations.wait(caller, job_id)
        task = await self._task(caller, job_id)
        if task["status"] == "failed":
            raise MCPError(**task["error"])
        job = await self._operations.get(caller, job_id)
        return mcp.CallToolResult.model_validate(result_of(job, await self._said(job)))

    # ------------------------------------------------------------ requests

    def _inputs_of(self, handler: str) -> Schema | None:
        described: Mapping[str, Any] = self._described.get(handler, {})
        return described.get("inputs")

    def _new_job(self, ctx: Context, params: mcp.CallToolRequestParams) -> NewJob:
        given, described = params.arguments or {}, self._described[params.name]
        known = {one["name"] for one in parameters_of(described)}
        for name in sorted(given.keys() - known):
            raise BadRequest(f"the tool {quoted(params.name)} has no argument {quoted(name)}")
        key = None if ctx.request is None else idempotency_key_of(ctx.request)
        return job_of(described, given, SubmitOptions(key=key or UNSET))

    async def _caller(self, ctx: Context) -> Caller:
        if ctx.request is None:  # over stdio
            return await self._context.access.caller({})
        found = ctx.request.scope.get(CALLER)
        return found if isinstance(found, Caller) else await self._context.access.caller(ctx.request.headers)

    async def _answered(
        self, ctx: Context, work: Callable[[Caller], Awaitable[HandlerResult]]
    ) -> HandlerResult:
        """Return what `work` returns. Raises `MCPError` for what it raises."""
        try:
            return await work(await self._caller(ctx))
        except MCPError:
            raise
        except Exception as error:  # noqa: BLE001  # an error of one request is its answer
            problem = to_problem("a request of MCP failed", error)
            code = mcp.INTERNAL_ERROR if problem.is_fault else mcp.INVALID_PARAMS
            raise MCPError(code, problem.message, {"code": problem.code}) from None


def _knows_tasks(ctx: Context) -> bool:
    """Return whether a request says that its client knows tasks; older protocols have no place for them."""
    capabilities = ctx.session.client_capabilities
    extensions = None if capabilities is None else capabilities.extensions
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and EXTENSION in (extensions or {})


def _lacking() -> MCPError:
    needed: Frame = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    return MCPError(
        mcp.MISSING_REQUIRED_CLIENT_CAPABILITY, f"this needs a client with the extension {EXTENSION}", needed
    )


def _bound(tool: Mapping[str, Any]) -> ToolBinding:
    """Return a tool as the SDK takes it: a function, though only of its signature use is made."""

    async def submit(**_: object) -> None:  # noqa: ASYNC124  # as the SDK has it
        raise NotImplementedError("the extension answers each call")

    schema = tool["inputSchema"]
    submit.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # which `inspect` looks for
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if name in schema["required"] else one.get("default"),
                annotation=Annotated[Any, WithJsonSchema(one)],
            )
            for name, one in schema["properties"].items()
        ]
    )
    about = {"name": tool["name"], "description": tool["description"], "structured_output": False}
    return ToolBinding(submit, kwargs=about)
