"""One job's log in memory: dense, bounded, and read by cursor."""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from operator import attrgetter
from typing import Any, Final

from .._common.errors import InvalidPayload
from .._common.states import Reason
from .._model.job import SNOOZES, TRIMMABLE, Event, Kind, Retention, folds

_EVENT: Final = 150  # bytes of an event, but for its data
_seq = attrgetter("seq")


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
    """Events numbered 1, 2, 3 …; the newest are dense, of the older ones only some are left.

    `_recent` holds every event from `_start` on, so the event after a cursor is found by subtraction; `_old`
    what is left of those before. Each event has a weight beside it, which is 0 as long as it has to stay.
    Trimming drops an eighth of the bound at a time, which makes the cost per event constant. Weights are
    kept, not taken again, because a value may have changed since it was sent.
    """

    __slots__ = (
        "_bytes",
        "_count",
        "_fixed",
        "_old",
        "_old_weights",
        "_recent",
        "_saved",
        "_start",
        "_weights",
    )

    def __init__(self) -> None:
        self._old: Sequence[Event] = ()
        self._old_weights: Sequence[int] = ()
        self._recent: list[Event] = []
        self._weights: list[int] = []
        self._start = 1
        self._count = 0  # events that may go,
        self._bytes = 0  # and their weight
        self._fixed = 0  # what is known of the weight of the others
        self._saved: tuple[int, int] | None = None  # the last saved value, which stays: its place and weight

    @property
    def last_seq(self) -> int:
        """The newest cursor; 0 when empty."""
        return self._start + len(self._recent) - 1

    @property
    def bytes(self) -> int:
        """The size of the tokens, progress and saved values in it."""
        return self._bytes if self._saved is None else self._bytes + self._saved[1]

    @property
    def size(self) -> int:
        """About how many bytes all of it takes, but for the result."""
        return self.bytes + self._fixed + (len(self._old) + len(self._recent)) * _EVENT

    def append(self, attempt: int, kind: Kind, timestamp: float, data: Any) -> int:
        """Add an event that stays, and return its `seq`."""
        seq = self._start + len(self._recent)
        self._recent.append(Event(seq, attempt, kind, timestamp, data))
        self._weights.append(0)
        if kind is Kind.RETRIED:
            if data.error is not None:
                self._fixed += len(data.error.message) + len(data.error.traceback)
            if folds(attempt):
                self._fold()
        return seq

    def extend(
        self, attempt: int, kind: Kind, timestamp: float, values: Sequence[Any], keep: Retention
    ) -> None:
        """Add an event for each value, which may go one day, and trim what is over the bound.

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
        self._count += len(weights)
        if kind is Kind.SAVED:
            self._keep_last(self.last_seq, weights[-1])
        if self._count > keep.events or self._bytes > keep.bytes:
            self._trim(keep.events - keep.events // 8, keep.bytes - keep.bytes // 8)

    def _keep_last(self, seq: int, weight: int) -> None:
        """Let the last saved value stay, and the one before go."""
        if self._saved is not None:
            self._weigh(*self._saved)
            self._count += 1
            self._bytes += self._saved[1]
        self._weigh(seq, 0)
        self._count -= 1
        self._bytes -= weight
        self._saved = seq, weight

    def _weigh(self, seq: int, weight: int) -> None:
        if seq >= self._start:
            self._weights[seq - self._start] = weight
        else:
            weights = [*self._old_weights]
            weights[bisect_left(self._old, seq, key=_seq)] = weight
            self._old_weights = weights

    def _trim(self, events: int, size: int) -> None:
        kept: list[Event] = []
        passed = 0
        for event, weight in self._weighed():
            if self._count <= events and self._bytes <= size:
                break
            passed += 1
            self._bytes -= weight
            if weight:
                self._count -= 1
            else:
                kept.append(event)
        self._replace(passed, kept, [0] * len(kept))

    def _fold(self) -> None:
        """Drop all but the newest snoozes: the end of one attempt and the beginning of the next."""
        every = list(self._weighed())
        snoozed = [
            place
            for place, (event, _) in enumerate(every[:-1])
            if event.kind is Kind.RETRIED and event.data.reason is Reason.SNOOZED
        ]
        gone = {place + both for place in snoozed[:-SNOOZES] for both in (0, 1)}
        passed = max(gone, default=-1) + 1
        kept = [one for place, one in enumerate(every[:passed]) if place not in gone]
        self._replace(passed, [event for event, _ in kept], [weight for _, weight in kept])

    def _weighed(self) -> Iterator[tuple[Event, int]]:
        yield from zip(self._old, self._old_weights, strict=True)
        yield from zip(self._recent, self._weights, strict=True)

    def _replace(self, passed: int, kept: list[Event], weights: list[int]) -> None:
        """Put `kept` in the place of the oldest events."""
        self._old, rest = [*kept, *self._old[passed:]], max(0, passed - len(self._old))
        self._old_weights = [*weights, *self._old_weights[passed:]]
        del self._recent[:rest]
        del self._weights[:rest]
        self._start += rest

    def read(self, after: int, limit: int) -> list[Event]:
        """Return up to `limit` kept events behind the cursor `after`."""
        behind = after + 1 - self._start
        if behind >= 0:
            return self._recent[behind : behind + limit]
        place = bisect_right(self._old, after, key=_seq)
        found = [*self._old[place : place + limit]]
        return found + self._recent[: limit - len(found)]

    def history(self) -> list[Event]:
        """Return the events but for tokens and progress."""
        return [event for part in (self._old, self._recent) for event in part if event.kind not in TRIMMABLE]
