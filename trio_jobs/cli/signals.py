"""Cancel an asynchronous command when a signal comes, and raise which one it was."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

import trio

from .faults import Stopped

SIGNALS: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@asynccontextmanager
async def stopped_by_signals() -> AsyncGenerator[None]:
    """Cancel the block when a signal comes.

    KeyboardInterrupt would not do: Python raises it in any line, perhaps half-way through a step.

    Raises:
        Stopped: A signal came, and the block ended by its cancellation.
    """
    seen: list[int] = []
    done = False
    with trio.open_signal_receiver(*SIGNALS) as signals:

        async def wait() -> None:
            seen.append(await anext(aiter(signals)))
            nursery.cancel_scope.cancel(reason="a signal")

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                yield
                done = True
                nursery.cancel_scope.cancel(reason="the command is done")
        except BaseExceptionGroup as group:
            one, *others = cast("Sequence[BaseException]", group.exceptions)
            if others:
                raise
            raise one from None
    if seen and not done:
        raise Stopped(*seen)
