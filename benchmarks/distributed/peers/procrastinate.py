"""procrastinate: LISTEN on, jobs kept. It keeps no results, and its client asks for a job's status."""

from __future__ import annotations

import sys
from typing import Any

from procrastinate import App, PsycopgConnector  # pyright: ignore[reportMissingImports]  # in its own environment
from procrastinate.jobs import Status  # pyright: ignore[reportMissingImports]

from benchmarks.durable.peers.on_asyncio import AsyncioClient, run

from .protocol import POLL, Client, Marks, Result, take_orders

role, address, at_once, marks = sys.argv[1], sys.argv[2], int(sys.argv[3]), Marks(sys.argv[4])
connector = PsycopgConnector(conninfo=address, min_size=4, max_size=20)
app = App(connector=connector)


@app.task(name="work")
async def work(n: int) -> None:
    marks.started(n)


class Procrastinate(AsyncioClient, Client):
    async def submit(self, n: int) -> Any:
        marks.clear(n)
        return n, await work.defer_async(n=n)

    async def submit_many(self, numbers: range) -> list[Any] | None:
        for n in numbers:
            marks.clear(n)
        ids = await work.batch_defer_async(*({"n": n} for n in numbers))
        return list(zip(numbers, ids, strict=True))

    async def unfinished(self) -> int:
        row = await connector.execute_query_one_async(
            "SELECT count(*) AS jobs FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        )
        return int(row["jobs"])

    async def result(self, handle: Any) -> Result:
        n, job = handle
        while await app.job_manager.get_job_status_async(job) != Status.SUCCEEDED:
            await self.sleep(POLL)
        return marks.result(n)


async def main() -> None:
    async with app.open_async():
        if role == "worker":
            await app.run_worker_async(concurrency=at_once, install_signal_handlers=False)
        elif role == "client":
            await take_orders(Procrastinate())
        else:
            await app.schema_manager.apply_schema_async()


if __name__ == "__main__":
    run(main())
