"""Keep one job's log in memory, dense and bounded, and read it by cursor."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from operator import attrgetter
from typing import Any, Final

from .._common.bell import Bell
from .._common.errors import InvalidPayload
from .._model.job import ENDS, REPEATED, SNOOZES, TRIMMABLE, Event, Kind, Retention
from . import rules
from ._inputs import NONE, Inputs
from .records import Note

_EVENT: Final = 150  # bytes of an event, but for its data
_BESIDE: Final = frozenset({Kind.CANCEL_REQUESTED, Kind.INPUT, Kind.INPUTS_ENDED})  # an attempt goes on
_FLAT: Final = frozenset({str, bytes, int, float})
# Each event asks for these, and Python 3.11 finds the members of an enum slowly.
_STARTED, _TOKEN, _INPUT = Kind.STARTED, Kind.TOKEN, Kind.INPUT
_STEP, _RETRIED = Kind.STEP, Kind.RETRIED
_seq = attrgetter("seq")


def weigh(value: object) -> int:
    """Return about how many bytes `value` takes, the contents of containers included."""
    if type(value) in _FLAT:  # the quick way to what comes out below
        return value.__sizeof__()
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
    """Keeps events numbered 1, 2, 3 …; the newest are dense, of the older ones only some are left.

    `entries` holds all events after the event `before`: the bare value of a token, and a `Note` of any other
    event. So the entry behind a cursor is found by subtraction, and an `Event` is made only when a reader
    wants events. A token is of the same attempt as the note before it. `_old` holds what is left of the
    events up to `before`.

    Each entry has a weight beside it, which is 0 as long as it has to stay. Trimming drops an eighth of the
    bound at a time, which makes the cost per event constant. Weights are kept, not taken again, because a
    value may have changed since it was sent.

    Args:
        keep: How much is kept.
        now: The clock of its times.
        epoch: When that was 0, in seconds since 1970.

    Attributes:
        last_seq: The newest cursor; 0 when empty.
        writer: The attempt that may write; 0 if none may.
        over: Whether the job has ended.
        followers: Rings with each event, once a task waits for one.
        inputs: What the job has of inputs; `NONE` as long as it had none, and no task listened.
    """

    __slots__ = (
        "_attempt", "_bytes", "_count", "_epoch", "_fixed", "_keep", "_notes", "_now", "_old",
        "_old_weights", "_others", "_saved", "_steps", "_times", "_weights", "before", "entries",
        "followers", "inputs", "last_seq", "over", "writer",
    )  # fmt: skip

    def __init__(self, keep: Retention, now: Callable[[], float], epoch: float) -> None:
        self._keep = keep
        self._now = now
        self._epoch = epoch
        self._old: Sequence[Event] = ()
        self._old_weights: Sequence[int] = ()
        self.before = 0
        self.last_seq = 0
        self.entries: list[Any] = []
        self._times = array("d")
        self._weights: list[int] = []
        self._notes: list[int] = []  # where the notes are
        self._attempt = 0  # the attempt of the last note before `entries`
        self._others = 0  # how many events the present attempt did not write
        self._count = 0  # events that may go,
        self._bytes = 0  # and their weight
        self._fixed = 0  # the known weight of the other events
        self._saved: tuple[int, int] | None = None  # the last saved value, which stays: its place and weight
        self.writer = 0
        self.over = False
        self.followers: Bell | None = None
        self.inputs = NONE
        self._steps = 0, 0  # how many results of steps, and their weight

    @property
    def bytes(self) -> int:
        """The size of the tokens, progress, consumed inputs and saved values in it."""
        return self._bytes if self._saved is None else self._bytes + self._saved[1]

    @property
    def size(self) -> int:
        """About how many bytes all of it takes, but for the result."""
        return self.bytes + self._fixed + (len(self._old) + len(self.entries)) * _EVENT

    @property
    def appended(self) -> int:
        """How many events the present attempt has written."""
        return self.last_seq - self._others

    # ------------------------------------------------------------ writing

    def append(self, attempt: int, kind: Kind, now: float, data: Any, received: int | None = None) -> int:
        """Add an event that stays, and return its `seq`."""
        self.last_seq = seq = self.last_seq + 1
        self._others += 1
        if kind is _STARTED:
            self.writer, self._others = attempt, seq
        elif kind not in _BESIDE:
            self.writer = 0
            self.over = kind in ENDS
        self.entries.append(Note(attempt, kind, data, received))
        self._notes.append(seq)
        self._times.append(now)
        self._weights.append(0)
        if kind is _RETRIED:
            if data.error is not None:
                self._fixed += len(data.error.message) + len(data.error.traceback)
            if rules.folds(attempt):
                self._fold()
        if self.followers is not None:
            self.followers.ring()
        return seq

    def extend(self, kind: Kind, values: Sequence[object], received: int | None = None) -> None:
        """Add an event of the present attempt for each value, and drop old ones beyond the bounds.

        Args:
            kind: What the attempt appends.
            values: At least one.
            received: The inputs up to this `seq` are consumed.

        Raises:
            InvalidPayload: A token is too large, or steps are too many or too large; nothing was added.
        """
        weights = [weigh(value) for value in values]
        if kind is _TOKEN:
            if max(weights) > self._keep.token_bytes:
                raise self._too_large(max(weights))
            self.entries += values
        else:
            if kind is _STEP:
                self._add_steps(weights)
            if received is not None:
                self.consume(received)
                received = self.inputs.consumed
            self._notes += range(self.last_seq + 1, self.last_seq + len(values) + 1)
            attempt = self._attempt_at(self.last_seq)
            self.entries += [Note(attempt, kind, value, received) for value in values]
        self.last_seq += len(weights)
        self._times.extend([self._now()] * len(weights))
        if kind is _STEP:
            weights = [0] * len(weights)
        else:
            self._count += len(weights)
            self._bytes += sum(weights)
        self._weights += weights
        if kind is Kind.SAVED:
            self._keep_last(self.last_seq, weights[-1])
        self._added()

    def send(self, value: object) -> None:
        """Add one token, as `extend` does."""
        weight = weigh(value)
        if weight > self._keep.token_bytes:
            raise self._too_large(weight)
        self.last_seq += 1
        self.entries.append(value)
        self._times.append(self._now())
        self._weights.append(weight)
        self._bytes += weight
        self._count += 1
        self._added()

    def _add_steps(self, weights: Sequence[int]) -> None:
        count, size = self._steps
        rules.check_steps(count, size, weights, self._keep)
        self._steps = count + len(weights), size + sum(weights)
        self._fixed += sum(weights)

    def add_inputs(self, attempt: int, now: float, values: Sequence[Any], weights: Sequence[int]) -> int:
        """Add an input for each value, which stays until it is consumed, and return the last `seq`."""
        inputs = self._own_inputs()
        for place, value in enumerate(values):
            inputs.add(self.append(attempt, _INPUT, now, value), weights[place])
        self._fixed += sum(weights)
        return self.last_seq

    def _own_inputs(self) -> Inputs:
        if self.inputs is NONE:
            self.inputs = Inputs()
        return self.inputs

    def end_inputs(self, attempt: int, now: float) -> int:
        """Add the end of the inputs, and return its `seq`."""
        inputs = self._own_inputs()
        inputs.end(self.append(attempt, Kind.INPUTS_ENDED, now, None))
        return self.last_seq

    def consume(self, received: int) -> None:
        """Note that the inputs up to the `seq` `received` are consumed, so that they may be dropped."""
        if not self.inputs.last:
            return
        done = self.inputs.consume(received)
        self._weigh(done)
        size = sum(done.values())
        self._count += len(done)
        self._bytes += size
        self._fixed -= size
        self._added()

    def _too_large(self, weight: int) -> InvalidPayload:
        most = self._keep.token_bytes
        return InvalidPayload(f"a token of {weight} bytes is over Retention.token_bytes={most}")

    def _added(self) -> None:
        keep = self._keep
        if self._count > keep.events or self._bytes > keep.bytes:
            self._trim(keep.events - keep.events // 8, keep.bytes - keep.bytes // 8)
        if self.followers is not None:
            self.followers.ring()

    def _keep_last(self, seq: int, weight: int) -> None:
        """Protect the last saved value from trimming, and no longer the one before."""
        if self._saved is not None:
            self._weigh(dict([self._saved]))
            self._count += 1
            self._bytes += self._saved[1]
        self._weigh({seq: 0})
        self._count -= 1
        self._bytes -= weight
        self._saved = seq, weight

    def _weigh(self, found: Mapping[int, int]) -> None:
        """Give events other weights."""
        weights, before = self._weights, self.before
        for seq, weight in found.items():
            if seq > before:
                weights[seq - before - 1] = weight
            else:
                old = [*self._old_weights]
                old[bisect_left(self._old, seq, key=_seq)] = weight
                self._old_weights = old

    # ------------------------------------------------------------ dropping events

    def _trim(self, events: int, size: int) -> None:
        passed, count, total = 0, self._count, self._bytes
        weights = [*self._old_weights, *self._weights]
        for weight in weights:
            if count <= events and total <= size:
                break
            passed += 1
            if weight:
                count -= 1
                total -= weight
        self._count, self._bytes = count, total
        self._replace(passed, [place for place, weight in enumerate(weights[:passed]) if not weight])
        if self.inputs.seqs:
            self.inputs.keep({event.seq for event in self._old}, self.before)

    def _fold(self) -> None:
        """Drop all but the newest snoozes and waits: the end of one attempt and the beginning of the next."""
        every = self.read(0, self.last_seq)
        pairs, ended = list[tuple[int, int]](), None
        for place, event in enumerate(every):
            if event.kind is _RETRIED and event.data.reason in REPEATED:
                ended = place
            elif event.kind is _STARTED and ended is not None:
                pairs.append((ended, place))
                ended = None
        gone = {place for pair in pairs[:-SNOOZES] for place in pair}
        passed = max(gone, default=-1) + 1
        self._replace(passed, [place for place in range(passed) if place not in gone])

    def _replace(self, passed: int, kept: Sequence[int]) -> None:
        """Keep of the `passed` oldest events those at the places `kept`, and no other."""
        old, weights = len(self._old), [*self._old_weights, *self._weights]
        events = [self._old[place] if place < old else self._event(place - old) for place in kept]
        self._old = [*events, *self._old[passed:]]
        self._old_weights = [*(weights[place] for place in kept), *self._old_weights[passed:]]
        if (rest := passed - old) > 0:
            self._attempt = self._attempt_at(self.before + rest)
            del self.entries[:rest], self._times[:rest], self._weights[:rest]
            self.before += rest
            del self._notes[: bisect_right(self._notes, self.before)]

    def wait(self) -> Awaitable[None]:
        """Wait for the next event. A checkpoint."""
        if self.followers is None:
            self.followers = Bell()
        return self.followers.wait()

    def listen(self) -> Awaitable[None]:
        """Wait for the next input, or the end of the inputs. A checkpoint."""
        inputs = self.inputs
        if inputs.listeners is None:
            inputs = self._own_inputs()
            inputs.listeners = Bell()
        return inputs.listeners.wait()

    def clear(self) -> None:
        """Drop everything, because the job is deleted."""
        self.entries, self._old = [], ()
        self.inputs.seqs.clear()
        for bell in (self.followers, self.inputs.listeners):
            if bell is not None:
                bell.ring()

    # ------------------------------------------------------------ reading

    def _attempt_at(self, seq: int) -> int:
        place = bisect_right(self._notes, seq)
        return self._attempt if place == 0 else self.entries[self._notes[place - 1] - self.before - 1].attempt

    def _event(self, place: int) -> Event:
        seq, entry, timestamp = self.before + place + 1, self.entries[place], self._times[place] + self._epoch
        if isinstance(entry, Note):
            return Event(seq, entry.attempt, entry.kind, timestamp, entry.data, entry.received)
        return Event(seq, self._attempt_at(seq), _TOKEN, timestamp, entry)

    def read(self, after: int, limit: int) -> list[Event]:
        """Return up to `limit` kept events behind the cursor `after`."""
        place = bisect_right(self._old, after, key=_seq)
        found = [*self._old[place : place + limit]]
        first = max(0, after - self.before)
        last = min(len(self.entries), first + limit - len(found))
        return found + [self._event(place) for place in range(first, last)]

    def read_inputs(self, after: int, limit: int) -> list[Event]:
        """Return up to `limit` kept events `input` and `inputs_ended` behind the cursor `after`."""
        return [
            entry if isinstance(entry, Event) else self._event(seq - self.before - 1)
            for seq, entry in self.inputs_behind(after, limit)
        ]

    def inputs_behind(self, after: int, limit: int) -> list[tuple[int, Event | Note]]:
        """Return what `read_inputs` does, each with its `seq`, and without making events."""
        seqs, before, entries, old = self.inputs.seqs, self.before, self.entries, self._old
        first = bisect_right(seqs, after)
        return [
            (seq, entries[seq - before - 1] if seq > before else old[bisect_left(old, seq, key=_seq)])
            for seq in seqs[first : first + limit]
        ]

    def tokens(self, after: int, limit: int) -> list[Any]:
        """Return the values of up to `limit` tokens that follow the cursor `after` at once."""
        if (first := after - self.before) < 0:
            return []
        note = bisect_right(self._notes, after)
        last = self._notes[note] - self.before - 1 if note < len(self._notes) else len(self.entries)
        return self.entries[first : min(last, first + limit)]

    def history(self) -> list[Event]:
        """Return all events except tokens, progress and inputs."""
        recent = (self._event(seq - self.before - 1) for seq in self._notes)
        return [event for part in (self._old, recent) for event in part if event.kind not in TRIMMABLE]
