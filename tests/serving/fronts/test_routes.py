"""Answers that may be long: they have room until they are sent, and none is made for who has left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from starlette.responses import Response
from starlette.types import Message

from tests.serving.served import count
from trio_jobs import open_registry
from trio_jobs.serving.context import ServerContext
from trio_jobs.serving.fronts.routes import long_answer
from trio_jobs.serving.options import ServerOptions
from trio_jobs.serving.problems import Problem, Refused

ROOM = 1000


async def make() -> Response:
    return Response(b"long")


async def refuse() -> Response:
    raise Refused("closing", "not now")


async def make_forever() -> Response:
    await trio.sleep_forever()
    raise AssertionError


def in_its_words(_: Problem) -> Response:
    """Return a problem as a protocol has it."""
    return Response(status_code=418)


@pytest.mark.parametrize(
    ("work", "stays", "status"), [(make, True, 200), (refuse, True, 418), (make_forever, False, 400)]
)
async def test_a_long_answer(work: Callable[[], Awaitable[Response]], stays: bool, status: int) -> None:
    """It has its room while it is sent, and no longer; a problem is told in the words of the protocol; and
    the work ends when the client has left."""
    statuses: list[int] = []

    async def receive() -> Message:
        if stays:
            await trio.sleep_forever()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        assert account.used == ROOM
        statuses.extend([message["status"]] if "status" in message else [])

    async with open_registry(handlers=[count]) as jobs:
        context = ServerContext.of(jobs, ServerOptions())
        account = context.operations.account
        with trio.fail_after(10):
            await long_answer(context, ROOM, work, in_its_words)({"type": "http"}, receive, send)
        assert (statuses, account.used) == ([status], 0)
