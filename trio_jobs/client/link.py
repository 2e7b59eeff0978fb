"""Keep one connection to the server, and carry requests and replies over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import trio

from .._wire import requests
from .._wire.replies import ProtocolViolation, Reply
from .address import Address
from .backoff import Backoff
from .errors import Disconnected
from .request_table import RequestTable, ServerCloses
from .socket import ConnectionLost, Socket, run_socket

T = TypeVar("T")


class Link:
    """A connection to a server that is made again whenever it is lost.

    Args:
        address: Where the server is.
        patience: Seconds that a call waits while the server is out of reach.

    Attributes:
        table: The requests that are open.
    """

    def __init__(self, address: Address, patience: float) -> None:
        self.table = RequestTable()
        self._address = address
        self._patience = patience
        self._served = False  # the server has answered on the connection that there is now
        self._why = "no connection yet"
        self._waiting: set[trio.CancelScope] = set()
        self._closed = False
        # Around the present step: connecting, using the connection, or waiting.
        self._scope = trio.CancelScope()

    # ------------------------------------------------------------ calls

    def new_id(self) -> int:
        """Return an id for a request."""
        return self.table.new_id()

    def check_open(self) -> None:
        """Raise `trio.ClosedResourceError` if the block of `connect` was left."""
        if self._closed:
            raise closed()

    def close(self) -> None:
        """End all that is open: the block is left."""
        self._closed = True
        self.table.fail(closed())
        self._scope.cancel(reason="the block of connect was left")

    async def call(self, request: requests.AnyRequest, about: str, read: Callable[[Reply], T | None]) -> T:
        """Send a request, and return its answer. A checkpoint.

        If the call is cancelled, a request that was not sent has no effect; one that was sent may have.

        Raises:
            Disconnected: The server was out of reach for too long.
            InvalidPayload: The request cannot be sent.
            TrioJobsError: The server answered with this error.
        """
        self.check_open()
        await trio.lowlevel.checkpoint_if_cancelled()
        call = self.table.ask(request, about, read)
        try:
            with self.patience():
                while not call.done:
                    await call.bell.wait()
        finally:
            self.table.drop(call)
        return call.answer()

    @contextmanager
    def patience(self) -> Generator[None]:
        """Bound how long a wait in this block lasts while the server is out of reach.

        Raises:
            Disconnected: It was out of reach for too long.
        """
        scope = trio.CancelScope(deadline=self._deadline())
        self._waiting.add(scope)
        try:
            with scope:
                yield
        finally:
            self._waiting.discard(scope)
        if scope.cancelled_caught:
            raise Disconnected(self._address.url, self._why)

    def _deadline(self) -> float:
        return math.inf if self._served else trio.current_time() + self._patience

    def _set_served(self, *, served: bool) -> None:
        if served != self._served:
            self._served = served
            for scope in self._waiting:
                scope.deadline = self._deadline()

    # ------------------------------------------------------------ the tasks

    async def run(self) -> None:
        """Keep a connection until `close` is called, and then end it in order."""
        backoff = Backoff()
        while not self._closed:
            lost = await self._connect()
            served, self._why = self._served, lost.why
            self._set_served(served=False)
            self.table.closed(lost.code, Disconnected(self._address.url, lost.why))
            if lost.final is not None:
                self.table.fail(lost.final)
            wait = backoff.delay(lost.code, served=served, least=lost.least)
            if not self._closed:
                with trio.CancelScope() as self._scope:
                    await trio.sleep(wait)

    async def _connect(self) -> ConnectionLost:
        """Connect, use the connection, and return why it ended."""
        with trio.CancelScope() as self._scope:  # noqa: ASYNC912  # it is cancelled by `close`
            try:
                await run_socket(self._address, self._use)
            except ConnectionLost as lost:
                return lost
        return ConnectionLost("the block was left")

    async def _use(self, socket: Socket) -> None:
        """Send and receive over a connection until `close` is called. Raises `ConnectionLost`."""
        self.table.connected()
        with trio.CancelScope() as self._scope:  # the tasks of the WebSocket go on, to close it
            async with trio.open_nursery() as nursery:
                nursery.start_soon(socket.keep_alive)
                nursery.start_soon(self._write, socket)
                await self._read(socket)

    async def _write(self, socket: Socket) -> NoReturn:
        while True:
            while (message := self.table.outgoing()) is not None:
                await socket.send(message)
            await self.table.bell.wait()

    async def _read(self, socket: Socket) -> NoReturn:
        while True:
            message = await socket.receive()
            try:
                self.table.received(message)
            except ProtocolViolation as error:
                why = f"the server does not speak {requests.PROTOCOL}: {error}"
                raise ConnectionLost(why, 1002) from None
            except ServerCloses:
                raise ConnectionLost("the server is stopping", 1001) from None
            self._set_served(served=True)


def closed() -> trio.ClosedResourceError:
    """Return the error that is raised once the block was left."""
    return trio.ClosedResourceError("the block of connect was left; use its jobs inside")
