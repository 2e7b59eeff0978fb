"""One job's log in memory: dense, bounded, and read by cursor."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping, Sequence, Set
from typing import Any

from .._errors import InvalidPayload
from .._job import TRIMMABLE, Event, Kind, Retention


def weigh(value: object) -> int:
    """Return about how many bytes `value` takes, the contents of containers included."""
    if isinstance(value, (str, bytes, int, float)):
        return sys.getsizeof(value)
    total, seen, stack = 0, set[int](), [value]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        total += sys.getsizeof(item)
        if isinstance(item, Mapping):
            stack += item.keys()
            stack += item.values()
        elif isinstance(item, (list, tuple, deque, Set)):
            stack += item
        elif (fields := getattr(type(item), "__attrs_attrs__", None)) is not None:
            stack += [getattr(item, field.name, None) for field in fields]
    return total


class Log:
    """Events numbered 1, 2, 3 …; the newest are dense, of the older ones only history is left.

    `_recent` holds every event from `_start` on, so the event after a cursor is found by subtraction.
    Trimming moves `_start` up, dropping tokens and progress and keeping all else in `_history`. It
    drops an eighth of the bound at a time, which makes the cost per event constant. Weights are kept,
    not taken again, because a value may have changed since it was sent.
    """

    __slots__ = ("_bytes", "_history", "_recent", "_start", "_weights")

    def __init__(self) -> None:
        self._history: tuple[Event, ...] = ()
        self._recent: list[Event] = []
        self._start = 1
        self._weights: list[int] = []
        self._bytes = 0

    @property
    def last_seq(self) -> int:
        """The newest cursor; 0 when empty."""
        return self._start + len(self._recent) - 1

    @property
    def bytes(self) -> int:
        """The size of the tokens and progress in it."""
        return self._bytes

    def append(self, attempt: int, kind: Kind, timestamp: float, data: Any) -> int:
        """Add an event that stays, and return its `seq`."""
        seq = self._start + len(self._recent)
        self._recent.append(Event(seq, attempt, kind, timestamp, data))
        return seq

    def extend(
        self, attempt: int, kind: Kind, timestamp: float, values: Sequence[Any], keep: Retention
    ) -> None:
        """Add an event for each value, of a kind in `TRIMMABLE`, and trim what is over the bound.

        Raises:
            InvalidPayload: A token is too large; nothing was added.
        """
        weights = [weigh(value) for value in values]
        if kind is Kind.TOKEN and max(weights) > keep.token_bytes:
            raise InvalidPayload(
                f"a token of {max(weights)} bytes is over Retention.token_bytes={keep.token_bytes}"
            )
        first = self._start + len(self._recent)
        self._recent += [Event(seq, attempt, kind, timestamp, data) for seq, data in enumerate(values, first)]
        self._weights += weights
        self._bytes += sum(weights)
        if len(self._weights) > keep.events or self._bytes > keep.bytes:
            self._trim(keep.events - keep.events // 8, keep.bytes - keep.bytes // 8)

    def _trim(self, events: int, size: int) -> None:
        moved, trimmed, kept = 0, 0, list[Event]()
        for event in self._recent:
            if len(self._weights) - trimmed <= events and self._bytes <= size:
                break
            moved += 1
            if event.kind in TRIMMABLE:
                self._bytes -= self._weights[trimmed]
                trimmed += 1
            else:
                kept.append(event)
        del self._weights[:trimmed]
        del self._recent[:moved]
        self._start += moved
        self._history += tuple(kept)

    def read(self, after: int, limit: int) -> list[Event]:
        """Return up to `limit` kept events behind the cursor `after`."""
        behind = after + 1 - self._start
        if behind >= 0:
            return self._recent[behind : behind + limit]
        found = [event for event in self._history if event.seq > after][:limit]
        return found + self._recent[: limit - len(found)]

    def history(self) -> list[Event]:
        """Return the events that are never trimmed."""
        return [*self._history, *(event for event in self._recent if event.kind not in TRIMMABLE)]
