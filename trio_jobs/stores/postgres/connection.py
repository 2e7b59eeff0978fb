"""One connection to a server, on Trio, by psycopg's wrapper of libpq.

Statements go out as a pipeline, so that many cost one round trip. Who is cancelled while they run loses the
connection, as nobody knows then which answer comes next; the server is asked to give up what it does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Final, TypeAlias, TypeVar, cast

import psycopg
import trio
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus, PollingStatus
from psycopg.pq.abc import PGcancelConn, PGconn, PGresult

from ..._common.errors import StoreUnavailable
from .failures import error_of

T = TypeVar("T")
Row: TypeAlias = tuple[str | None, ...]
Statement: TypeAlias = tuple[bytes, Sequence[bytes | None]]
"""A statement with its parameters, as text."""
Answer: TypeAlias = list[list[Row]] | psycopg.Error
"""The rows of each statement of a batch, or the error of one."""


class Kept(bytes):
    """SQL that comes again and again, of which a connection lets the server keep the plan."""


# A plan that is kept may have been made while a table was small, or before it was analysed.
_PLANS: Final[Statement] = (
    b"SELECT set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)",
    (),
)
_STALE: Final = ("0A000", "26000")  # a kept statement has other columns now, or is not there any more
_CANCELLING: Final = 2.0  # seconds in which the server is to learn that nobody waits any more
_WITH_ERROR: Final = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)


async def connect(options: Mapping[str, str], limit: float, where: str, *, keeps: bool = False) -> Connection:
    """Connect to a server.

    Args:
        options: Of libpq, by their names.
        limit: Seconds after which it counts as out of reach.
        where: What it is called in errors.
        keeps: See `Connection`.

    Raises:
        StoreUnavailable: It does not answer.
        OSError: Its name is not known.
        psycopg.OperationalError: It cannot be reached, or refuses the connection.
    """
    with trio.move_on_after(limit):
        conninfo = make_conninfo("", **{**options, **await _resolved(options)})
        pg = pq.PGconn.connect_start(conninfo.encode())
        try:
            await _polled(pg, pg.connect_poll)
        except BaseException:
            pg.finish()
            raise
        return Connection(pg, keeps=keeps)
    raise StoreUnavailable(f"{where} did not answer within {limit:g} seconds")


async def _resolved(options: Mapping[str, str]) -> Mapping[str, str]:
    """Look up the names of hosts; libpq would stop the whole program meanwhile."""
    hosts = options.get("host", os.environ.get("PGHOST", "")).split(",")
    if "hostaddr" in options or "PGHOSTADDR" in os.environ or all(map(_is_local, hosts)):
        return {}
    ports = options.get("port", os.environ.get("PGPORT", "5432")).split(",")
    found: list[tuple[str, str, str]] = []
    unknown: OSError | None = None
    for host, port in zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=False):
        if _is_local(host):
            found.append((host, "", port))
        else:
            try:
                infos = await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_STREAM)
            except OSError as error:
                unknown = error
            else:
                found += [(host, str(info[4][0]), port) for info in infos]
    if not found:
        raise cast("OSError", unknown)
    return dict(zip(("host", "hostaddr", "port"), map(",".join, zip(*found, strict=True)), strict=True))


def _is_local(host: str) -> bool:
    return not host or host.startswith(("/", "@"))


async def _polled(pg: PGconn | PGcancelConn, poll: Callable[[], int]) -> None:
    """Wait until libpq has done what was started."""
    while (polled := PollingStatus(poll())) != PollingStatus.OK:
        if polled == PollingStatus.FAILED:
            raise psycopg.OperationalError(pg.get_error_message())
        wait = trio.lowlevel.wait_readable
        if polled == PollingStatus.WRITING:
            wait = trio.lowlevel.wait_writable
        await wait(pg.socket)


class Connection:
    """A connection. One task at a time may use it.

    Args:
        pg: What libpq has connected.
        keeps: Whether `Kept` statements are prepared, each at its first use, as works with a session of the
            server's own.
    """

    def __init__(self, pg: PGconn, *, keeps: bool = False) -> None:
        self._pg = pg
        self._keeps = keeps
        self._names: dict[bytes, bytes] = {}  # of the statements that are kept
        self._numbers = count()
        self._process = os.getpid()
        pg.nonblocking = 1

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as this machine knows."""
        if self._pg.status == ConnStatus.OK:
            try:
                self._pg.consume_input()
                self._pg.consume_input()  # behind a last word of the server there is the end
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
        if self._keeps:
            await self._prepare({sql for batch in batches for sql, _ in batch if isinstance(sql, Kept)})
        for batch in batches:
            for sql, values in batch:
                if name := self._names.get(sql):
                    pg.send_query_prepared(name, values)
                else:
                    pg.send_query_params(sql, values)
            pg.pipeline_sync()
        await self._flush()
        answers = [await self._answer() for _ in batches]
        if any(isinstance(answer, psycopg.Error) and answer.sqlstate in _STALE for answer in answers):
            self._names.clear()
        return answers

    async def _prepare(self, wanted: Collection[bytes]) -> None:
        """Have the server keep statements. One that it refuses is sent as it is, and its error says why."""
        new = {sql: b"kept%d" % next(self._numbers) for sql in wanted if sql not in self._names}
        if not new:
            return
        for sql, name in new.items():
            self._pg.send_prepare(name, sql)
            self._pg.pipeline_sync()
        self._pg.send_query_params(*_PLANS)
        self._pg.pipeline_sync()
        await self._flush()
        for sql, name in new.items():
            if not isinstance(await self._answer(), psycopg.Error):
                self._names[sql] = name
        await self._answer()

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
            shield = trio.CancelScope(shield=True, deadline=trio.current_time() + _CANCELLING)
            # The server may be out of reach; and libpq before version 17 would stop the whole program.
            with shield, suppress(psycopg.OperationalError, psycopg.NotSupportedError):
                cancelling = self._pg.cancel_conn()
                cancelling.start()
                await _polled(cancelling, cancelling.poll)  # noqa: ASYNC102  # `shield` is one, with a timeout
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
