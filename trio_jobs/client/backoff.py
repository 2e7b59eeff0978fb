"""Decide when to connect again: pure rules, no clock.

All clients of a server lose it at the same moment when it restarts. Each waits a random part of a growing
time, so that they do not come back at the same moment too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .._model.retry import Retry

BACKOFF: Final = Retry(attempts=2, initial=0.2, factor=2.0, maximum=5.0, jitter=1.0)

_BEGIN: Final[Mapping[int, int]] = {1001: 3, 1013: 4}
"""The step to begin with after a close code: clients of a server that stops or is full are spread wider."""

TOO_LARGE: Final = 1009
SUSPECT: Final = frozenset({1002, 1003, 1007, TOO_LARGE, 1011})
"""The close codes that a request may have caused, and would cause again."""


class Backoff:
    """How long to wait before the next attempt to connect."""

    def __init__(self) -> None:
        self._failures = 0

    def delay(self, code: int | None, *, served: bool, least: float = 0.0) -> float:
        """Return the seconds to wait, after a connection or an attempt has ended.

        Args:
            code: The WebSocket's close code, if there was one.
            served: Whether the server had answered on that connection.
            least: The shortest wait that the server allows.
        """
        if served and code not in SUSPECT:
            self._failures = 0
        self._failures = max(self._failures + 1, _BEGIN.get(code or 0, 1))
        return least + BACKOFF.delay(self._failures)
