"""`trio-jobs worker`: run jobs until a signal comes, then stop in order, or by force."""

from __future__ import annotations

from .options import HandlersAt, check_store
from .working import DEFAULTS, WorkerOptions, working


async def worker(handlers: HandlersAt, /, *, options: WorkerOptions = DEFAULTS) -> None:
    """Run jobs until SIGTERM or Ctrl-C, with `limits` and `schedules` of the module, if it has them.

    Then it claims no more, asks the jobs to end, waits for the grace, and hands over what still runs: another
    worker goes on with it. It exits within the grace and two seconds, by force if a handler does not
    stop. Another signal, a second or more after the first, ends it at once.

    Raises:
        Stopped: A signal came.
    """
    check_store(options.store)
    async with working(handlers, options) as work:
        options.tell(f"{work.description}; Ctrl-C stops it")
        await work.stopping.wait()
