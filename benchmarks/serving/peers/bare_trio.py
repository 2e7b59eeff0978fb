"""A bare Trio loop: one task sends an event per token to all clients of a job, over sockets and no more.

A chunk per event, as all event streams here; requests are not looked at. It shows how late a task comes back
from its pauses in a loop that does nothing else than write to so many.
"""

from __future__ import annotations

import sys
from functools import partial

import trio

from .protocol import HOST, Frames, Plan, Stage, event, now, paused, say, take_orders

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = "event: completed\ndata: [DONE]\n\n"


def chunk(text: str) -> bytes:
    return f"{len(text):x}\r\n{text}\r\n".encode()


class Server:
    def __init__(self) -> None:
        self.stage = Stage(trio.Event)
        self.clients: list[list[trio.abc.SendStream]] = []
        self.come = 0

    async def prepare(self, plan: Plan) -> list[str]:
        await trio.lowlevel.checkpoint()
        self.stage.prepare(plan)
        self.clients, self.come = [[] for _ in range(plan.jobs)], 0
        return [str(n) for n in range(plan.jobs)]

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(HEAD)
            self.clients[self.come % len(self.clients)].append(stream)
            self.come += 1
            await stream.receive_some()  # until it leaves

    async def speak(self, clients: list[trio.abc.SendStream]) -> None:
        plan = self.stage.plan
        for burst in Frames(plan, event).bursts():
            for text in burst:
                data = chunk(text)
                for client in clients:
                    await client.send_all(data)
            if plan.pause:
                began = now()
                await trio.sleep(plan.pause)
                paused(began, plan.pause)
        if not plan.hold:
            for client in clients:
                await client.send_all(chunk(END))


async def main() -> None:
    server = Server()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        nursery.start_soon(trio.serve_listeners, server.serve, listeners)
        say({"port": listeners[0].socket.getsockname()[1]})

        async def go() -> None:
            await trio.lowlevel.checkpoint()
            for clients in server.clients:
                nursery.start_soon(server.speak, clients)

        read_line = partial(trio.to_thread.run_sync, sys.stdin.readline)
        await take_orders(read_line, server.prepare, go)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
