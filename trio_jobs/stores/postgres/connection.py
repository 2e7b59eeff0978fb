"""One connection to a server, on Trio, by psycopg's wrapper of libpq.

Statements go out as a pipeline, so that many cost one round trip. Who is cancelled while they run loses the
connection, as nobody knows then which answer comes next; the server is asked to give up what it does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
import trio
from psycopg import pq
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus, PollingStatus
from psycopg.pq.abc import PGconn, PGresult

from ..._common.errors import StoreUnavailable
from .failures import error_of

T = TypeVar("T")
Row: TypeAlias = tuple[str | None, ...]
Statement: TypeAlias = tuple[bytes, Sequence[bytes | None]]
"""A statement with its parameters, as text."""
Answer: TypeAlias = list[list[Row]] | psycopg.Error
"""The rows of each statement of a batch, or the error of one."""

_CANCELLING: Final = 2.0  # seconds in which the server is to learn that nobody waits any more
_WITH_ERROR: Final = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)


async def _in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run a function of libpq that may look up names, read files or wait; it is left alone if cancelled."""
    return await trio.to_thread.run_sync(
        partial(work, *args), abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
    )


async def connect(conninfo: str, limit: float, where: str) -> Connection:
    """Connect to a server.

    Args:
        conninfo: How, in libpq's form.
        limit: Seconds after which it counts as out of reach.
        where: What it is called in errors.

    Raises:
        StoreUnavailable: It does not answer.
        psycopg.OperationalError: It cannot be reached, or refuses the connection.
    """
    with trio.move_on_after(limit):
        pg = await _in_thread(pq.PGconn.connect_start, conninfo.encode())
        while True:
            polled = PollingStatus.FAILED
            if pg.status != ConnStatus.BAD:
                polled = PollingStatus(await _in_thread(pg.connect_poll))
            if polled == PollingStatus.OK:
                return Connection(pg)
            if polled == PollingStatus.FAILED:
                raise psycopg.OperationalError(pg.get_error_message(), pgconn=pg)
            reading = polled == PollingStatus.READING
            await (trio.lowlevel.wait_readable if reading else trio.lowlevel.wait_writable)(pg.socket)
    raise StoreUnavailable(f"{where} did not answer within {limit:g} seconds")


class Connection:
    """A connection. One task at a time may use it.

    Args:
        pg: What libpq has connected.
    """

    def __init__(self, pg: PGconn) -> None:
        self._pg = pg
        self._process = os.getpid()
        pg.nonblocking = 1

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as this machine knows."""
        if self._pg.status == ConnStatus.OK:
            try:
                self._pg.consume_input()
            except psycopg.OperationalError:
                self.close()
        return self._pg.status == ConnStatus.OK

    def close(self) -> None:
        """Close it now."""
        if os.getpid() == self._process:  # a child that was forked off would end that of its parent
            self._pg.finish()

    async def run(self, *batches: Sequence[Statement]) -> list[Answer]:
        """Run statements, all in one round trip. Of a batch those behind one that fails are skipped.

        Returns:
            The answer to each batch.

        Raises:
            psycopg.Error: The connection was lost. It is closed then, as it is if this is cancelled.
        """
        return await self._whole(self._run(batches))

    async def _run(self, batches: Sequence[Sequence[Statement]]) -> list[Answer]:
        pg = self._pg
        if pg.pipeline_status == PipelineStatus.OFF:
            pg.enter_pipeline_mode()
        for batch in batches:
            for sql, values in batch:
                pg.send_query_params(sql, values)
            pg.pipeline_sync()
        await self._flush()
        return [await self._answer() for _ in batches]

    async def script(self, sql: str) -> list[Row]:
        """Run statements as one string, before the first `run`, and return the rows of the last.

        Raises:
            psycopg.Error: One of them failed, and those behind it were not run; or the connection was lost.
        """
        return await self._whole(self._script(sql))

    async def _script(self, sql: str) -> list[Row]:
        self._pg.send_query(sql.encode())
        await self._flush()
        rows: list[Row] = []
        error = None
        while result := await self._result():
            if result.status in _WITH_ERROR:
                error = error_of(result)
            rows = _rows(result)
        if error is not None:
            raise error
        return rows

    async def listen(self) -> list[str]:
        """Wait for notifications, and return what they carry. Nothing else may run meanwhile.

        Raises:
            psycopg.OperationalError: The connection was lost.
        """
        return await self._whole(self._listen())

    async def _listen(self) -> list[str]:
        pg = self._pg
        while not (notice := pg.notifies()):
            await trio.lowlevel.wait_readable(pg.socket)
            pg.consume_input()
        heard = [notice.extra.decode()]
        while notice := pg.notifies():
            heard.append(notice.extra.decode())
        return heard

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something with the connection; close it if it is lost meanwhile, or this is cancelled."""
        try:
            return await work
        except trio.Cancelled:
            cancelling = self._pg.get_cancel()
            shield = trio.CancelScope(shield=True, deadline=trio.current_time() + _CANCELLING)
            with shield, suppress(psycopg.OperationalError):  # it is out of reach
                await _in_thread(cancelling.cancel)
            self.close()
            raise
        except psycopg.Error:
            if self._pg.status != ConnStatus.OK:
                self.close()
            raise

    async def _flush(self) -> None:
        """Send all there is, and take in what comes meanwhile, as the server may wait for that."""
        while self._pg.flush():
            async with trio.open_nursery() as nursery:
                for wait in (trio.lowlevel.wait_readable, trio.lowlevel.wait_writable):
                    nursery.start_soon(_first, wait, self._pg.socket, nursery.cancel_scope)
            self._pg.consume_input()

    async def _result(self) -> PGresult | None:
        pg = self._pg
        while pg.is_busy():
            await trio.lowlevel.wait_readable(pg.socket)
            pg.consume_input()
        return pg.get_result()

    async def _answer(self) -> Answer:
        """Return the answer to the next batch."""
        found: list[list[Row]] = []
        error: psycopg.Error | None = None
        while True:
            try:
                result = await self._result()
            except psycopg.OperationalError as lost:
                raise error or lost from None  # the first says why
            if self._pg.status != ConnStatus.OK:
                raise error or psycopg.OperationalError(self._pg.get_error_message())
            if result is None:
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                return error or found
            if result.status in _WITH_ERROR:
                error = error or error_of(result)
            else:
                found.append(_rows(result))


async def _first(wait: Callable[[int], Any], socket: int, scope: trio.CancelScope) -> None:
    """Wait for a socket, and end the wait of the other task then."""
    await wait(socket)
    scope.cancel()


def _rows(result: PGresult) -> list[Row]:
    """Return the rows of a result as text."""
    get, columns = result.get_value, range(result.nfields)
    return [
        tuple(None if (value := get(row, column)) is None else value.decode() for column in columns)
        for row in range(result.ntuples)
    ]
