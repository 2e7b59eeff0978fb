"""Where SQLite works: in threads of Trio's, unless a test in virtual time has it work in the run's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

import trio

RUN: Final = ContextVar[Callable[..., Awaitable[Any]]]("RUN", default=trio.to_thread.run_sync)
"""What runs a function elsewhere, as `trio.to_thread.run_sync` does. A file looks it up when it is opened."""
