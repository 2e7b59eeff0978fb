"""Starlette on uvicorn with uvloop and httptools: a server-sent event per token, and a write per event.

Clients that follow one job read what one task says, each from where it is.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  # what this peer runs on
import sys
from collections.abc import AsyncIterator
from functools import partial

import uvicorn  # in its own environment
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from .protocol import HOST, Frames, Plan, Stage, event, now, paused, say, take_orders

END = "event: completed\ndata: [DONE]\n\n"


class Server:
    def __init__(self) -> None:
        self.stage = Stage(asyncio.Event)
        self.frames = Frames(self.stage.plan, event)
        self.said: list[str] = []
        self.more = asyncio.Event()
        self.speaking: asyncio.Task[None] | None = None

    async def prepare(self, plan: Plan) -> list[str]:
        self.stage.prepare(plan)
        self.frames = Frames(plan, event)
        self.said = []
        return [str(n) for n in range(plan.jobs)]

    async def serve(self, _request: Request) -> StreamingResponse:
        one = self.stage.plan.jobs == 1
        return StreamingResponse(self.follow() if one else self.speak(), media_type="text/event-stream")

    async def speak(self) -> AsyncIterator[str]:  # noqa: ASYNC900  # what Starlette takes
        plan, frames = self.stage.plan, self.frames
        await self.stage.gate.wait()
        for burst in frames.bursts():
            for frame in burst:
                yield frame
            began = now()
            await asyncio.sleep(plan.pause)
            paused(began, plan.pause)
        if plan.hold:
            await asyncio.Event().wait()
        yield END

    async def follow(self) -> AsyncIterator[str]:  # noqa: ASYNC900  # likewise
        said, read = self.said, 0
        while True:
            while read < len(said):
                yield said[read]
                if said[read] == END:
                    return
                read += 1
            await self.more.wait()

    async def speak_to_all(self) -> None:
        async for frame in self.speak():
            self.said.append(frame)
            self.more.set()
            self.more = asyncio.Event()

    async def go(self) -> None:
        self.stage.gate.set()
        if self.stage.plan.jobs == 1:
            self.speaking = asyncio.create_task(self.speak_to_all())


async def main() -> None:
    server = Server()
    app = Starlette(routes=[Route("/", server.serve)])
    config = uvicorn.Config(app, HOST, 0, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
    listening = uvicorn.Server(config)
    running = asyncio.create_task(listening.serve())
    while not listening.started:  # noqa: ASYNC110  # it has no event for it
        await asyncio.sleep(0.01)
    say({"port": listening.servers[0].sockets[0].getsockname()[1]})
    read_line = partial(asyncio.to_thread, sys.stdin.readline)
    await take_orders(read_line, server.prepare, server.go)
    listening.should_exit = True
    await running


if __name__ == "__main__":
    uvloop.run(main())
