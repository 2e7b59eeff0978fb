"""`trio-jobs worker`: run jobs until a signal comes, then stop in order, or by force."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from .options import HandlersAt, check_store
from .working import DEFAULTS, WorkerOptions, working


async def worker(
    handlers: HandlersAt,
    /,
    *,
    metrics: Annotated[str | None, Parameter(metavar="[HOST:]PORT")] = None,
    options: WorkerOptions = DEFAULTS,
) -> None:
    """Run jobs until SIGTERM or Ctrl-C, with `limits` and `schedules` of the module, if it has them.

    Then it claims no more, asks the jobs to end, waits for the grace, and hands over what still runs: another
    worker goes on with it. It exits within the grace and two seconds, by force if a handler does not
    stop. Another signal, a second or more after the first, ends it at once.

    Args:
        metrics: Show /metrics for Prometheus there, and the health checks /healthz and /readyz; on 127.0.0.1
            without a host. Whoever reaches it may read them. Needs the extras prometheus and http.

    Raises:
        Stopped: A signal came.
        Fault: --metrics is no port, an extra is missing, or the port is taken.
    """
    check_store(options.store)
    if metrics is None:
        async with working(handlers, options) as work:
            options.tell(f"{work.description}; Ctrl-C stops it")
            await work.stopping.wait()
        return
    from .metrics import host_and_port, metrics_for_worker, shown

    at, measured = host_and_port(metrics), metrics_for_worker()
    async with working(handlers, options, measured) as work:
        work.jobs.pause()  # no job starts before the port is known to be free
        async with shown(work.jobs, measured, at) as url:
            work.jobs.resume()
            options.tell(f"{work.description}; metrics are at {url}/metrics; Ctrl-C stops it")
            await work.stopping.wait()
            work.jobs.pause()
