"""The websockets library on asyncio and uvloop, without compression: a frame per token.

To the clients that follow one job it sends with its `broadcast`, which makes each frame once for all.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  # what this peer runs on
import sys
from functools import partial

import uvloop  # in its own environment
from websockets.asyncio.server import (
    ServerConnection,
    broadcast,
    serve,
)

from .protocol import END, HOST, Frames, Plan, Stage, compact, message, now, paused, say, take_orders


class Server:
    def __init__(self) -> None:
        self.stage = Stage(asyncio.Event)
        self.frames = Frames(self.stage.plan, message)
        self.followers: set[ServerConnection] = set()

    async def prepare(self, plan: Plan) -> list[str]:
        self.stage.prepare(plan)
        self.frames = Frames(plan, message)
        return [str(n) for n in range(plan.jobs)]

    async def serve(self, socket: ServerConnection) -> None:
        if self.stage.plan.jobs == 1:
            self.followers.add(socket)
        else:
            await self.stage.gate.wait()
            await self.speak(socket)
        await socket.wait_closed()
        self.followers.discard(socket)

    async def speak(self, socket: ServerConnection) -> None:
        for burst in self.frames.bursts():
            for frame in burst:
                await socket.send(frame)
            began = now()
            await asyncio.sleep(self.frames.plan.pause)
            paused(began, self.frames.plan.pause)
        if not self.frames.plan.hold:
            await socket.send(compact(END))

    async def speak_to_all(self) -> None:
        for burst in self.frames.bursts():
            for frame in burst:
                broadcast(self.followers, frame)
            began = now()
            await asyncio.sleep(self.frames.plan.pause)
            paused(began, self.frames.plan.pause)
        if not self.frames.plan.hold:
            broadcast(self.followers, compact(END))

    async def go(self) -> None:
        if self.stage.plan.jobs == 1:
            await self.speak_to_all()
        self.stage.gate.set()


async def main() -> None:
    server = Server()
    async with serve(server.serve, HOST, 0, compression=None, ping_interval=None) as listening:
        say({"port": listening.sockets[0].getsockname()[1]})
        read_line = partial(asyncio.to_thread, sys.stdin.readline)
        await take_orders(read_line, server.prepare, server.go)


if __name__ == "__main__":
    uvloop.run(main())
