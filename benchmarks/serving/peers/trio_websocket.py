"""trio-websocket, bare: a frame per token."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from .protocol import END, HOST, Frames, Plan, Stage, compact, message, now, paused, say, take_orders


class Server:
    def __init__(self) -> None:
        self.stage = Stage(trio.Event)
        self.frames = Frames(self.stage.plan, message)

    async def prepare(self, plan: Plan) -> list[str]:
        await trio.lowlevel.checkpoint()
        self.stage.prepare(plan)
        self.frames = Frames(plan, message)
        return [str(n) for n in range(plan.jobs)]

    async def serve(self, request: WebSocketRequest) -> None:
        socket = await request.accept()
        with suppress(ConnectionClosed):
            await self.speak(socket)
            await socket.get_message()

    async def speak(self, socket: WebSocketConnection) -> None:
        plan, frames = self.stage.plan, self.frames
        await self.stage.gate.wait()
        for burst in frames.bursts():
            for frame in burst:
                await socket.send_message(frame)  # which is a checkpoint
            if plan.pause:
                began = now()
                await trio.sleep(plan.pause)
                paused(began, plan.pause)
        if not plan.hold:
            await socket.send_message(compact(END))

    async def go(self) -> None:
        self.stage.gate.set()
        await trio.lowlevel.checkpoint()


async def main() -> None:
    server = Server()
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(partial(serve_websocket, server.serve, HOST, 0, None))
        say({"port": listening.port})
        read_line = partial(trio.to_thread.run_sync, sys.stdin.readline)
        await take_orders(read_line, server.prepare, server.go)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
