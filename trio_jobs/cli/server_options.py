"""The options of `serve` that say where a server listens and who may use it, and those of `serve_http`."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from .faults import FAILED, Fault
from .tokens import authenticator

if TYPE_CHECKING:
    from ..serving.options import Authenticate

_NO_SUCH_NAME: Final = {getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_AGAIN", "EAI_NODATA")}


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ServerOptions:
    """The options of `serve` that concern the server.

    Attributes:
        host: Where to listen; a host that other machines can reach needs --token-file.
        port: The port; 0 picks a free one.
        allow_host: A name of the server besides those of this machine; may be repeated.
        allow_origin: A site whose pages may use it, as https://example.org; may be repeated.
        per_client: How many connections one address may have; behind a proxy, all clients have one.
        token_file: Who may do what: on each line an owner and a token, which gives access to the jobs of that
            owner; with * in place of an owner, to all jobs.
        tracebacks: Show clients the tracebacks of what jobs raised, and the stacks of those that run.
        access_log: Log each HTTP request too, without its query, at any --log-level.
        durable_streams: Serve the logs of jobs to clients of the Durable Streams protocol too.
        mcp: Serve handlers as tools of the Model Context Protocol too, and their jobs as tasks.
        openai: Serve handlers that take messages to clients of OpenAI's Responses and chat completions too.
        ai_sdk: A handler that answers the chats of the AI SDK, at /api/chat.
        certfile: For TLS: the server's certificate, and those that lead to it.
        keyfile: Its key, if that is in a file of its own.
    """

    host: Annotated[str, Parameter(metavar="HOST")] = "127.0.0.1"
    port: Annotated[int, Parameter(metavar="PORT", validator=Number(gte=0, lte=65535))] = 8000
    allow_host: Annotated[list[str] | None, Parameter(metavar="NAME", negative=())] = None
    allow_origin: Annotated[list[str] | None, Parameter(metavar="ORIGIN", negative=())] = None
    per_client: Annotated[int, Parameter(metavar="N", validator=Number(gte=1))] = 50
    token_file: Annotated[str | None, Parameter(metavar="FILE")] = None
    tracebacks: Annotated[bool, Parameter(negative=())] = False
    access_log: Annotated[bool, Parameter(negative=())] = False
    durable_streams: Annotated[bool, Parameter(negative=())] = False
    mcp: Annotated[bool, Parameter(negative=())] = False
    openai: Annotated[bool, Parameter(negative=())] = False
    ai_sdk: Annotated[str | None, Parameter(metavar="HANDLER")] = None
    certfile: Annotated[str | None, Parameter(metavar="FILE")] = None
    keyfile: Annotated[str | None, Parameter(metavar="FILE")] = None

    def options(self) -> dict[str, Any]:
        """Return the options of `serve_http`.

        Raises:
            Fault: They contradict each other, or a certificate is unusable.
            OSError: A file cannot be read.
        """
        from ..serving import Limits

        return {
            "host": self.host,
            "port": self.port,
            "authenticate": self._authenticate(),
            "hosts": self.allow_host or (),
            "origins": self.allow_origin or (),
            "limits": Limits(
                per_client=self.per_client, connections=max(self.per_client, Limits().connections)
            ),
            "tracebacks": self.tracebacks,
            "access_log": self.access_log,
            "fronts": self._fronts(),
            "ssl_context": self._ssl_context(),
        }

    def _authenticate(self) -> Authenticate | None:
        from ..serving.options import is_loopback

        if self.token_file is not None:
            return authenticator(self.token_file)
        if not is_loopback(self.host):
            raise Fault(
                f"--host {self.host} can be reached from other machines, which could all run jobs; "
                "say who may with --token-file"
            )
        return None

    def _fronts(self) -> list[Any]:
        from .. import serving

        names = ("durable_streams", "mcp", "openai")
        found: list[Any] = [getattr(serving, f"{name}_front") for name in names if getattr(self, name)]
        if self.ai_sdk is not None:
            found.append(serving.ai_sdk_front(self.ai_sdk))
        return found

    def _ssl_context(self) -> ssl.SSLContext | None:
        if self.certfile is None:
            if self.keyfile is not None:
                raise Fault("--keyfile needs the certificate that it belongs to: --certfile")
            return None
        for path in (self.certfile, self.keyfile or self.certfile):
            with Path(path).open("rb"):  # the error of load_cert_chain does not name the file
                pass
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certfile, self.keyfile)
        except ssl.SSLError as error:
            text = f"--certfile {self.certfile}: no certificate in PEM with its key ({error.reason})"
            raise Fault(text) from error
        return context

    def fault(self, error: OSError, option: str | None = None) -> Fault:
        """Return the fault for an error of listening at host and port; `option` is what both come from."""
        host, port = option or "--host", option or "--port"
        where = f"{self.host}:{self.port}"
        if error.errno == errno.EADDRINUSE:
            return Fault(f"{where} is taken by another program; choose another {port}, or 0 for any", FAILED)
        if error.errno == errno.EACCES:
            return Fault(f"{where} may not be opened by this user; choose a {port} from 1024 on", FAILED)
        if error.errno == errno.EADDRNOTAVAIL or error.errno in _NO_SUCH_NAME:
            return Fault(f"{host} {self.host} is no address of this machine")
        return Fault(error.strerror or str(error), FAILED)
