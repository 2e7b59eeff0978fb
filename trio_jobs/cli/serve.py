"""`trio-jobs serve`: run jobs, and serve them to browsers and programs, until a signal comes."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import trio
from cyclopts import Parameter
from cyclopts.validators import Number

from .faults import FAILED, Fault
from .options import DEFAULT_STORE, MEMORY, Capacity, HandlersAt, Seconds, Store, WorkerName, file_of
from .output import note
from .tokens import Authenticate, authenticator
from .working import working

_NO_SUCH_NAME: Final = {getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_AGAIN", "EAI_NODATA")}
_FAREWELL: Final = 0.5
"""Seconds that clients get to be told that the server stops; the jobs' grace begins behind it."""


async def serve(
    handlers: HandlersAt,
    /,
    *,
    store: Store = DEFAULT_STORE,
    host: Annotated[str, Parameter(metavar="HOST")] = "127.0.0.1",
    port: Annotated[int, Parameter(metavar="PORT", validator=Number(gte=0, lte=65535))] = 8000,
    capacity: Capacity = 100,
    lease: Seconds = 30.0,
    grace: Seconds = 10.0,
    name: WorkerName = None,
    allow_host: Annotated[list[str] | None, Parameter(metavar="NAME", negative=())] = None,
    allow_origin: Annotated[list[str] | None, Parameter(metavar="ORIGIN", negative=())] = None,
    per_client: Annotated[int, Parameter(metavar="N", validator=Number(gte=1))] = 50,
    token_file: Annotated[str | None, Parameter(metavar="FILE")] = None,
    certfile: Annotated[str | None, Parameter(metavar="FILE")] = None,
    keyfile: Annotated[str | None, Parameter(metavar="FILE")] = None,
) -> None:
    """Run jobs, and serve them over HTTP and WebSocket, with a page to watch them, until SIGTERM or Ctrl-C.

    Then it claims no more, tells its clients, which come back to the next server, and stops as `worker`
    does: within the grace and two seconds.

    Args:
        host: Where to listen; a host that other machines can reach needs --token-file.
        port: The port; 0 picks a free one.
        lease: After so long without a sign of life, another worker may take over a job.
        grace: How long jobs may take to end by themselves when the server is to stop.
        allow_host: A name that the server goes by besides those of this machine; may be repeated.
        allow_origin: A site whose pages may use it, as https://example.org; may be repeated.
        per_client: How many connections one address may have; behind a proxy that is everybody.
        token_file: Who may do what: on each line an owner and a token. Whoever has it sees the jobs of that
            owner; with * in place of an owner, all jobs.
        certfile: For TLS: the server's certificate, and those that lead to it.
        keyfile: Its key, if that is in a file of its own.

    Raises:
        Stopped: A signal came.
    """
    try:
        from ..serving import Limits, serve_http
    except ImportError as error:
        raise Fault(str(error), FAILED) from error
    if store != MEMORY:
        file_of(store)
    serving: Callable[..., Any] = partial(
        serve_http,
        host=host,
        port=port,
        authenticate=_authenticate(host, token_file),
        hosts=allow_host or (),
        origins=allow_origin or (),
        limits=Limits(per_client=per_client, connections=max(per_client, Limits().connections)),
        ssl_context=_ssl_context(certfile, keyfile),
        grace=min(grace, _FAREWELL),
    )
    async with (
        working(handlers, store=store, capacity=capacity, lease=lease, grace=grace, name=name) as work,
        trio.open_nursery() as nursery,
    ):
        work.jobs.pause()  # no job begins that would have to stop at once because the port is taken
        try:
            urls: list[str] = await nursery.start(partial(serving, work.jobs))
        except OSError as error:
            raise _bind_fault(host, port, error) from error
        work.jobs.resume()
        note(work.told)
        note(f"the page is at {urls[0]}/; Ctrl-C stops it")
        await work.stopping.wait()
        work.jobs.pause()
        nursery.cancel_scope.cancel(reason="a signal")


def _authenticate(host: str, token_file: str | None) -> Authenticate | None:
    from ..serving.gate import is_loopback

    if token_file is not None:
        return authenticator(token_file)
    if not is_loopback(host):
        raise Fault(
            f"--host {host} can be reached from other machines, and anybody who does could run jobs; "
            "say who may with --token-file"
        )
    return None


def _ssl_context(certfile: str | None, keyfile: str | None) -> ssl.SSLContext | None:
    if certfile is None:
        if keyfile is not None:
            raise Fault("--keyfile needs the certificate that it belongs to: --certfile")
        return None
    for path in (certfile, keyfile or certfile):
        with Path(path).open("rb"):  # what cannot be read is told by its name
            pass
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certfile, keyfile)
    except ssl.SSLError as error:
        raise Fault(f"--certfile {certfile}: no certificate in PEM with its key ({error.reason})") from error
    return context


def _bind_fault(host: str, port: int, error: OSError) -> Fault:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return Fault(f"{where} is taken by another program; choose another --port, or 0 for any", FAILED)
    if error.errno == errno.EACCES:
        return Fault(f"{where} may not be opened by this user; choose a --port from 1024 on", FAILED)
    if error.errno == errno.EADDRNOTAVAIL or error.errno in _NO_SUCH_NAME:
        return Fault(f"--host {host} is no address of this machine")
    return Fault(error.strerror or str(error), FAILED)
