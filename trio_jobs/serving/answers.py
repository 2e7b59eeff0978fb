"""The answer to each request as JSON, and how much room it may take; for HTTP and WebSocket alike.

`operations.py` authorises the caller. This module bounds every answer whose size a caller can choose: lists
and histories go on behind a cursor, and large values are left out, to be read in pieces.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias

import attrs
import msgspec
import trio

from .._common.errors import InvalidPayload, UnknownJob
from .._json.records import plain
from .._json.values import encode, to_json
from .._model.job import Job
from .._model.summary import PAGE_BYTES, SHOWN, JobSummary
from .._wire.events import LARGE, encode_event
from .._wire.requests import (
    AddSchedule,
    AnyRequest,
    Bulk,
    Cancel,
    EndInputs,
    Explain,
    Find,
    Get,
    GetOverview,
    GetStatistics,
    GetValue,
    History,
    List,
    ListHandlers,
    ListLimits,
    ListSchedules,
    Pause,
    PauseSchedule,
    RemoveSchedule,
    Resubmit,
    Resume,
    ResumeSchedule,
    Send,
    SetLimit,
    Submit,
    TriggerSchedule,
    UnsetLimit,
    Wait,
)
from .account import Account
from .operations import JobOperations
from .options import Caller
from .values import ARGS, PIECE, encode_job, made, outweighs

Fields: TypeAlias = Mapping[str, bytes]
"""An answer: the names and the JSON of its fields."""

_SMALL: Final = 64 * 1024
_TURN: Final = 100
"""Records that are made into JSON before other tasks have their turn."""
_TOO_HEAVY: Final = 8 * PAGE_BYTES
_ROOM: Final[Mapping[type[Any], int]] = {
    Get: 3 * LARGE + 2 * ARGS + _SMALL,
    List: PAGE_BYTES + _SMALL,
    Find: 2 * PAGE_BYTES,
    History: PAGE_BYTES + LARGE,
    GetValue: 2 * PIECE,
    Explain: LARGE,
}
"""How many bytes an answer may have; `_SMALL` for all others."""


@asynccontextmanager
async def answering(
    operations: JobOperations, caller: Caller, account: Account, request: AnyRequest
) -> AsyncGenerator[Fields]:
    """Carry a request out, and hold room for its answer for the length of a block, which sends it.

    Args:
        operations: The operations of the server.
        caller: The caller.
        account: The account of the connection.
        request: The request.

    Raises:
        Exception: What `JobOperations` raises.
    """
    match request:
        case Submit():
            async with account.room(_SMALL):
                job_id = await operations.submit(caller, request)
            request = Get(request.id, job_id)
        case Resubmit():
            async with account.room(_SMALL):
                job_id = await operations.resubmit(caller, request)
            request = Get(request.id, job_id)
        case TriggerSchedule():
            async with account.room(_SMALL):
                job_id = await operations.store.trigger(caller, request)
            request = Get(request.id, job_id)
        case Wait():
            await operations.wait(caller, request.job)  # for any time; it holds no room meanwhile
            request = Get(request.id, request.job)
        case Cancel():
            report = await operations.cancel(caller, request)
            async with account.room(_SMALL):
                yield {"report": msgspec.json.encode(report)}
            return
        case Bulk():  # which may take a while; it holds no room meanwhile
            done = await operations.bulk(caller, request.what)
            async with account.room(_SMALL):
                yield {"bulk": msgspec.json.encode(done)}
            return
        case _:
            pass
    async with account.room(_ROOM.get(type(request), _SMALL)) as resize:
        fields = await _read(operations, caller, request)
        resize(sum(map(len, fields.values())))
        yield fields


async def _read(operations: JobOperations, caller: Caller, request: AnyRequest) -> Fields:  # noqa: PLR0911, PLR0912  # a table
    match request:
        case Get():
            job = await operations.get(caller, request.job)
            return {"job": await made(partial(encode_job, job, tracebacks=operations.tracebacks), job)}
        case List():
            return await _list(operations, caller, request)
        case Find():
            return {"jobs": await _whole_jobs(operations, caller, request)}
        case History():
            return await _history(operations, caller, request)
        case GetValue():
            text, following = (await operations.value(caller, request)).piece(request.offset)
            if following is None:
                operations.was_read(request)
            return {"text": to_json(text), "next": to_json(following)}
        case Explain():
            return {"text": to_json(await operations.explain(caller, request.job))}
        case Send():
            return {"seq": to_json(await operations.send(caller, request))}
        case EndInputs():
            return {"seq": to_json(await operations.end_inputs(caller, request))}
        case ListHandlers():
            return {"handlers": operations.handlers, "may": to_json(caller.may)}
        case Pause() | Resume():
            return {"statistics": msgspec.json.encode(await operations.store.pause(caller, request))}
        case ListSchedules() | AddSchedule() | RemoveSchedule() | PauseSchedule() | ResumeSchedule():
            return {"schedules": msgspec.json.encode(await operations.store.schedules(caller, request))}
        case ListLimits() | SetLimit() | UnsetLimit():
            return {"limits": msgspec.json.encode(await operations.store.limits(caller, request))}
        case GetStatistics():
            return {"statistics": msgspec.json.encode(await operations.store.statistics(caller))}
        case GetOverview():
            return {"overview": msgspec.json.encode(await operations.store.overview(caller))}
        case _:
            raise AssertionError(request)


async def _list(operations: JobOperations, caller: Caller, request: List) -> Fields:
    page = await operations.find(caller, request, request.cursor)
    texts: list[bytes] = []
    for summary in page:
        texts.append(_summary(summary))
        if len(texts) % _TURN == 0:
            await trio.lowlevel.checkpoint()
    return {"jobs": _array(texts), "next": to_json(page.next)}


def _summary(summary: JobSummary) -> bytes:
    """Return a summary as JSON; if JSON cannot hold it, its `message` is why: the others are listed still."""
    try:
        return encode(f"job {summary.id}", plain(summary))
    except InvalidPayload as error:
        message = str(error)[:SHOWN]
        return to_json(plain(attrs.evolve(summary, progress=None, args_text=None, message=message)))


async def _history(operations: JobOperations, caller: Caller, request: History) -> Fields:
    texts: list[bytes] = []
    size, last, following = 0, request.after, None
    for event in await operations.history(caller, request.job):
        if event.seq <= request.after:
            continue
        if size >= PAGE_BYTES:
            following = last
            break
        if len(texts) % _TURN == _TURN - 1:
            await trio.lowlevel.checkpoint()
        texts.append(await made(partial(encode_event, event, tracebacks=operations.tracebacks), event.data))
        size += len(texts[-1])
        last = event.seq
    return {"history": _array(texts), "next": to_json(following)}


# ------------------------------------------------------------ for clients of the version before


async def _whole_jobs(operations: JobOperations, caller: Caller, request: Find) -> bytes:
    """Return whole jobs as a JSON array, up to a page of bytes; but one at least.

    A job that JSON cannot hold, or that is larger than a page, is listed without its values, and its message
    is why.
    """
    texts: list[bytes] = []
    size, after = 0, None
    while len(texts) < request.limit:
        page = await operations.find(caller, request, after)
        for summary in page[: request.limit - len(texts)]:
            try:
                job = await operations.get(caller, summary.id)
            except UnknownJob:
                continue  # it was removed meanwhile
            text = await _listed(job, tracebacks=operations.tracebacks)
            size += len(text)
            if texts and size > PAGE_BYTES:
                return _array(texts)
            texts.append(text)
        if (after := page.next) is None:
            break
    return _array(texts)


def _array(texts: Iterable[bytes]) -> bytes:
    return b"[%b]" % b",".join(texts)


async def _listed(job: Job, *, tracebacks: bool) -> bytes:
    message = "it is too large for a list; look it up by its id"
    if not outweighs((job.result, job.saved, job.metadata, job.args, job.kwargs), _TOO_HEAVY):
        try:
            text = await made(partial(encode_job, job, tracebacks=tracebacks, most=_TOO_HEAVY), job)
            if len(text) <= PAGE_BYTES:
                return text
        except InvalidPayload as error:
            message = str(error)
    bare = attrs.evolve(job, result=None, saved=None, metadata={}, args=None, kwargs=None, message=message)
    return encode_job(bare, tracebacks=tracebacks)
