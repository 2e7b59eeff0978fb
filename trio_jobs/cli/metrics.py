"""What `worker --metrics` and `serve` measure, and where a worker shows it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from .escape import one_line
from .faults import FAILED, Fault
from .server_options import ServerOptions

if TYPE_CHECKING:
    from .._registry.registry import JobRegistry
    from ..telemetry.prometheus import Metrics

_PORTS: Final = {str(port) for port in range(65536)}


def host_and_port(text: str) -> tuple[str, int]:
    """Return where to listen, as `9100` or `0.0.0.0:9100` says. Raises `Fault` if it says no such thing."""
    host, _, port = text.rpartition(":") if ":" in text else ("127.0.0.1", "", text)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host.replace(":", " ")
    if port not in _PORTS or not bare or " " in bare:
        raise Fault(f"--metrics takes a port, as 9100, or 0.0.0.0:9100; got {one_line(text)}")
    return bare, int(port)


def new_metrics() -> Metrics | None:
    """Return new metrics; None if the extra is not installed."""
    try:
        from ..telemetry.prometheus import Metrics
    except ImportError:
        return None
    return Metrics()


@asynccontextmanager
async def shown(jobs: JobRegistry, metrics: Metrics, at: tuple[str, int]) -> AsyncGenerator[str]:
    """Serve metrics and health checks for the length of the block, which gets their URL.

    Raises:
        Fault: The port cannot be opened.
    """
    from ..serving import serve_metrics

    host, port = at
    given: dict[str, Any] = {"host": host, "port": port, "metrics": metrics.exposition, "grace": 0.5}
    async with trio.open_nursery() as nursery:
        try:
            urls: list[str] = await nursery.start(partial(serve_metrics, jobs, **given))
        except OSError as error:
            raise ServerOptions(host=host, port=port).fault(error, "--metrics") from error
        nursery.start_soon(metrics.measure_loop)
        yield urls[0]
        nursery.cancel_scope.cancel(reason="a signal")


def metrics_for_worker() -> Metrics:
    """Return new metrics. Raises `Fault` if an extra is missing that showing them needs."""
    try:
        # Needed later, and better missed now.
        from ..serving import serve_metrics  # noqa: F401  # pyright: ignore[reportUnusedImport]
        from ..telemetry.prometheus import Metrics
    except ImportError as error:
        raise Fault(str(error), FAILED) from error
    return Metrics()
