"""DBOS: each job a workflow on a queue, results kept. Queue and results are polled for.

Its workers are told to poll as often as at low load; many at once are enqueued in one transaction, as its
documentation says of `enqueue_in_transaction`.
"""

from __future__ import annotations

import sys
from threading import Event
from typing import Any

import sqlalchemy as sa  # pyright: ignore[reportMissingImports]  # in its own environment
from dbos import (  # pyright: ignore[reportMissingImports]
    DBOS,
    DBOSClient,
    run_dbos_database_migrations,
)

from benchmarks.durable.peers.on_asyncio import AsyncioClient, run

from .protocol import POLL, Client, Result, result_of, take_orders

role, address, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3])
OPTIONS = {"queue_name": "work", "workflow_name": "work"}


class Dbos(AsyncioClient, Client):
    def __init__(self, client: DBOSClient, engine: Any) -> None:
        self.client, self.engine = client, engine

    async def submit(self, n: int) -> Any:
        return await self.client.enqueue_async(OPTIONS, n)

    async def submit_many(self, numbers: range) -> list[Any] | None:
        with self.engine.begin() as connection:
            handles = [self.client.enqueue_in_transaction(connection, OPTIONS, n) for n in numbers]
        return [handle.workflow_id for handle in handles]

    async def unfinished(self) -> int:
        with self.engine.connect() as connection:
            sql = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')"
            return int(connection.execute(sa.text(sql)).scalar_one())

    async def result(self, handle: Any) -> Result:
        if isinstance(handle, str):
            handle = await self.client.retrieve_workflow_async(handle)
        return await handle.get_result(polling_interval_sec=POLL)


def work_for_ever() -> None:
    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": address,
            "sys_db_pool_size": 20,
            "log_level": "ERROR",
            "application_version": "1",
            "run_admin_server": False,
        }
    )

    @DBOS.workflow(name="work")
    async def work(n: int) -> Result:
        return result_of(n)

    DBOS.launch()
    DBOS.register_queue("work", worker_concurrency=at_once, polling_interval_sec=POLL)
    Event().wait()


async def order() -> None:
    url = address.replace("postgresql://", "postgresql+psycopg://")
    client = DBOSClient(system_database_url=address, system_database_pool_size=20)
    await take_orders(Dbos(client, sa.create_engine(url)))


if __name__ == "__main__":
    if role == "worker":
        work_for_ever()
    elif role == "client":
        run(order())
    else:
        run_dbos_database_migrations(system_database_url=address)
