"""Open, keep alive and close one WebSocket connection to a server, each step within a deadline.

trio-websocket leaves to its users what a client needs; each point is handled here once:

    W2  a ping has a deadline; if nothing at all has come until then, the stream is dropped
    W4  TCP, TLS and the WebSocket's handshake have one short deadline, and the handshake ends with the stream
    W5  the stream is closed whatever happened
    W6  one task sends; a send that was cut short ends the connection without a word
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NoReturn, cast

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError

from .._common.error_text import leaves
from .._wire.requests import PROTOCOL
from .address import Address
from .errors import Disconnected, ServerError, least_wait, refusal

CONNECT: Final = 5.0
PING: Final = 20.0
PONG: Final = 10.0
CLOSE: Final = 1.0
MESSAGE: Final = 64 * 2**20
"""The largest message that is taken from a server, in characters; a job's result may be large."""

logging.getLogger("trio-websocket").addHandler(logging.NullHandler())


class ConnectionLost(Exception):
    """A connection ended, or was not made.

    Attributes:
        why: In one line.
        code: The WebSocket's close code, if there was one.
        least: Seconds that the server asked to wait before the next attempt.
        final: The error for all calls and reads, if trying again does not mend it.
    """

    def __init__(
        self, why: str, code: int | None = None, *, least: float = 0.0, final: Exception | None = None
    ) -> None:
        super().__init__(why)
        self.why = why
        self.code = code
        self.least = least
        self.final = final


class Socket:
    """An open connection, and the stream that it is on."""

    def __init__(self, connection: WebSocketConnection, stream: _Noticed) -> None:
        self._connection = connection
        self._stream = stream
        self._torn = False

    async def send(self, text: str) -> None:
        """Send a message. Cancelled, it leaves a connection of no further use. Raises `ConnectionLost`."""
        self._torn = True
        try:
            await self._connection.send_message(text)
        except ConnectionClosed as closed:
            raise _lost(closed) from None
        self._torn = False

    async def receive(self) -> str:
        """Return the next message. Raises `ConnectionLost`."""
        try:
            message = await self._connection.get_message()
        except ConnectionClosed as closed:
            raise _lost(closed) from None
        if isinstance(message, bytes):
            raise ConnectionLost("the server sent binary data", 1003)
        return message

    async def keep_alive(self) -> NoReturn:
        """Ping the server now and then. Raises `ConnectionLost` if nothing at all comes after a ping."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(PING)
                pinged = trio.current_time()
                nursery.start_soon(self._ping)
                await trio.sleep(PONG)
                if self._stream.last_received < pinged:
                    self._torn = True
                    raise ConnectionLost(f"no answer to a ping in {PONG:g} seconds")

    async def _ping(self) -> None:
        try:
            await self._connection.ping()
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def close(self) -> None:
        """Close in order, unless a message was sent in part only or the server does not answer pings."""
        if not self._torn:
            await self._connection.aclose()


def _lost(closed: ConnectionClosed) -> ConnectionLost:
    reason = closed.reason
    if reason is None or reason.code == 1006:  # noqa: PLR2004  # "abnormal": the stream ended
        return ConnectionLost("the connection broke")
    return ConnectionLost(f"the connection was closed ({reason.code})", reason.code)


async def run_socket(address: Address, use: Callable[[Socket], Awaitable[None]]) -> None:
    """Connect to a server, use the connection until `use` returns, and then close it in order.

    Raises:
        ConnectionLost: It was not made, or ended before that.
    """
    lost: ConnectionLost | None = None
    stream = await _dial(address)
    try:
        async with trio.open_nursery() as nursery:
            socket = Socket(await _shake_hands(nursery, stream, address), stream)
            await use(socket)
            with trio.move_on_after(CLOSE):
                await socket.close()
            nursery.cancel_scope.cancel()
    except* ConnectionLost as group:  # its tasks may each have met it
        met = cast("Iterator[ConnectionLost]", leaves(group))
        lost = min(met, key=lambda one: one.code is None)
    except* ConnectionRejected as group:
        lost = _refused(*cast("Iterator[ConnectionRejected]", leaves(group)))
    except* ProtocolError as group:  # raised inside trio-websocket, as by a pong that came too late
        lost = ConnectionLost(f"the connection broke: {group.exceptions[0]}")
    finally:
        await trio.aclose_forcefully(stream)
    if lost is not None:
        raise lost


def _refused(rejected: ConnectionRejected) -> ConnectionLost:
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in rejected.headers or ()
    }
    return ConnectionLost(
        f"the server refused the connection ({rejected.status_code})",
        least=least_wait(headers),
        final=refusal(rejected.status_code, rejected.body),
    )


# ------------------------------------------------------------ connecting


class _Noticed(trio.abc.Stream):
    """A stream that shows when it has ended, which trio-websocket does not during its handshake.

    Attributes:
        ended: Set when it has ended.
        last_received: When data came last.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.ended = trio.Event()
        self.last_received = trio.current_time()
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended.set()
            raise
        self.last_received = trio.current_time()
        if not data:
            self.ended.set()
        return data

    async def aclose(self) -> None:
        self.ended.set()
        await self._stream.aclose()


async def _dial(address: Address) -> _Noticed:
    """Open a stream to a server, with TLS if its URL says so. Raises `ConnectionLost`."""
    try:
        with trio.fail_after(CONNECT):
            stream: trio.abc.Stream = await trio.open_tcp_stream(address.host, address.port)
            if address.tls is not None:
                stream = await _with_tls(stream, address, address.tls)
    except trio.TooSlowError:
        raise ConnectionLost(f"no connection in {CONNECT:g} seconds") from None
    except (OSError, UnicodeError, trio.BrokenResourceError) as error:
        raise ConnectionLost(_why(error), final=_untrusted(error, address)) from None
    return _Noticed(stream)


async def _with_tls(stream: trio.abc.Stream, address: Address, tls: ssl.SSLContext) -> trio.abc.Stream:
    secure = trio.SSLStream(stream, tls, server_hostname=address.host, https_compatible=True)
    try:
        await secure.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secure


def _why(error: BaseException) -> str:
    cause = next(leaves(error.__cause__ or error))  # there is one of each address that a name has
    return str(cause) or type(cause).__name__


def _untrusted(error: BaseException, address: Address) -> Exception | None:
    """Return the error for all calls if a certificate is not trusted: waiting does not mend that."""
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return Disconnected(address.url, f"its certificate is not trusted: {error.__cause__.verify_message}")
    return None


async def _shake_hands(nursery: trio.Nursery, stream: _Noticed, address: Address) -> WebSocketConnection:
    """Open a WebSocket on a stream. Raises `ConnectionLost`; the nursery raises a refusal."""

    async def end_with_the_stream() -> None:
        await stream.ended.wait()
        scope.cancel()

    connection: WebSocketConnection | None = None
    with trio.move_on_after(CONNECT) as scope:
        async with trio.open_nursery() as watching:
            watching.start_soon(end_with_the_stream)
            connection = await wrap_client_stream(
                nursery,
                cast("trio.SocketStream", stream),  # any stream will do
                address.authority,
                address.path,
                subprotocols=[PROTOCOL],
                extra_headers=list(address.headers),
                max_message_size=MESSAGE,
            )
            watching.cancel_scope.cancel()
    if connection is None:
        ended = stream.ended.is_set()
        raise ConnectionLost(
            "the connection broke" if ended else f"no answer to the handshake in {CONNECT:g} seconds"
        )
    if connection.subprotocol != PROTOCOL:
        raise ConnectionLost(
            "it is no such server", final=ServerError("not_found", f"there is no {PROTOCOL} at {address.url}")
        )
    return connection
