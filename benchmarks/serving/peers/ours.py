"""trio_jobs, with its jobs in memory or a file, as it is served by `serve_websocket` or `serve_http`."""

from __future__ import annotations

import ssl
import sys
from functools import partial
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import trio

from trio_jobs import JobContext, JobRegistry, Retention, open_registry
from trio_jobs.serving import Limits, serve_http, serve_websocket

from .protocol import HOST, Plan, Stage, now, paused, say, take_orders, timed_token, token

MANY = 5000  # more than there are clients and jobs
KEEP_ALL = Retention(events=2**40, bytes=2**50)
LIMITS = Limits(connections=MANY, per_client=MANY)


class Server:
    jobs: JobRegistry

    def __init__(self) -> None:
        self.stage = Stage(trio.Event)
        self.tokens: list[str] = []

    async def prepare(self, plan: Plan) -> list[str]:
        await self.jobs.prune(older_than=0)
        self.stage.prepare(plan)
        self.tokens = [token(n) for n in range(plan.tokens)]
        handles = await self.jobs.submit_many(self.speak, [()] * plan.jobs)
        return [handle.id for handle in handles]

    async def speak(self, job: JobContext[str]) -> None:
        plan, tokens = self.stage.plan, self.tokens
        await self.stage.gate.wait()
        if plan.pause:
            for n in range(plan.tokens):
                await job.send(timed_token(n))
                began = now()
                await trio.sleep(plan.pause)
                paused(began, plan.pause)
        elif plan.burst == 1:
            for word in tokens:
                await job.send(word)
        else:
            for first in range(0, plan.tokens, plan.burst):
                await job.send_many(tokens[first : first + plan.burst])
        if plan.hold:
            await trio.sleep_forever()

    async def go(self) -> None:
        self.stage.gate.set()
        await trio.lowlevel.checkpoint()


def certified() -> ssl.SSLContext:
    import trustme  # of another extra

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(HOST).configure_cert(context)
    return context


async def main(kind: str, folder: str | None, context: ssl.SSLContext | None) -> None:
    server = Server()
    serve = serve_http if kind == "http" else serve_websocket
    store = "memory://" if folder is None else f"sqlite:///{folder}/jobs.db"
    async with (
        open_registry(store, handlers=[server.speak], capacity=MANY, retention=KEEP_ALL) as server.jobs,
        trio.open_nursery() as nursery,
    ):
        addresses = await nursery.start(
            partial(serve, server.jobs, host=HOST, port=0, limits=LIMITS, ssl_context=context)
        )
        say({"port": urlsplit(addresses[0]).port})
        read_line = partial(trio.to_thread.run_sync, sys.stdin.readline)
        await take_orders(read_line, server.prepare, server.go)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        file, tls = "file" in sys.argv, "tls" in sys.argv
        trio.run(main, sys.argv[1], folder if file else None, certified() if tls else None)
