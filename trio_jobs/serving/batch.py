"""Events that are sent together, or a gap: how a log is cut into batches, and their form on each wire."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import cached_property
from typing import Final

import attrs

from .._common.errors import InvalidPayload
from .._model.job import Event
from .._wire.events import encode_flat_events, light
from .sse import chunk, encode_sse

_BYTES: Final = 256 * 1024
_WEIGHT: Final = 4
_SHORT, _MEDIUM = 125, 0xFFFF


@attrs.define(eq=False, slots=False)  # with slots, a cached property makes each attribute slow to read
class EventBatch:
    """A run of events that are sent together, or a gap. It is encoded once for all followers.

    Attributes:
        after: The cursor before it.
        last: The cursor behind it.
        events: The events; none if they are gone.
        json: The events as a JSON array.
        tracebacks: Whether these are shown.
    """

    after: int
    last: int
    events: Sequence[Event]
    json: bytes
    tracebacks: bool
    _frame: tuple[int, bytes] | None = None

    @property
    def ends(self) -> bool:
        """Whether nothing comes behind them."""
        return bool(self.events) and self.events[-1].kind.ends

    @property
    def weight(self) -> int:
        """About how many bytes it takes in memory: the events, and their encoded forms."""
        return _WEIGHT * len(self.json)

    @cached_property
    def sse(self) -> bytes:
        """The events as server-sent events."""
        return encode_sse(self.events, self.after, self.last, tracebacks=self.tracebacks)

    @cached_property
    def chunk(self) -> bytes:
        """The same as a chunk of HTTP/1.1."""
        return chunk(self.sse)

    def message(self, re: int) -> bytes:
        """Return the message with the events over a WebSocket, in reply to the request `re`."""
        if not self.events:
            return b'{"re":%d,"gap":{"first":%d,"last":%d}}' % (re, self.after + 1, self.last)
        return b'{"re":%d,"events":%b}' % (re, self.json)

    def frame(self, re: int) -> bytes:
        """Return the message in a frame, kept for one id: most peers give their only request the same."""
        if self._frame is None or self._frame[0] != re:
            self._frame = re, text_frame(self.message(re))
        return self._frame[1]


def text_frame(text: bytes) -> bytes:
    """Return a server's whole message of text as RFC 6455 has it: unmasked, in one frame."""
    size = len(text)
    if size <= _SHORT:
        return b"\x81%c%b" % (size, text)
    if size <= _MEDIUM:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), text)


def cut(after: int, events: Sequence[Event], *, tracebacks: bool) -> Generator[EventBatch]:
    """Cut events into batches: at gaps, at 256 KiB, and before an event that JSON cannot hold.

    Args:
        after: The cursor that they were read behind.
        events: The events.
        tracebacks: Whether these are shown.

    Raises:
        InvalidPayload: JSON cannot hold the first event.
    """
    if events and events[-1].seq == after + len(events):
        whole = encode_flat_events(events, _BYTES)
        if whole is not None and len(whole) <= _BYTES:
            yield EventBatch(after, events[-1].seq, events, whole, tracebacks)
            return
    run: list[Event] = []
    texts: list[bytes] = []
    size = 0
    for event in events:
        try:
            sent, text = light(event, tracebacks=tracebacks)
        except InvalidPayload:
            if not run and event.seq == after + 1:
                raise
            if not run:
                yield gap(after, event.seq - 1)
            break  # what comes before it is sent first
        follows_on = event.seq == after + len(run) + 1
        if run and (not follows_on or size + len(text) > _BYTES):
            yield _batch(after, run, texts, tracebacks=tracebacks)
            after, run, texts, size = run[-1].seq, [], [], 0
        if event.seq != after + len(run) + 1:
            yield gap(after, event.seq - 1)
            after = event.seq - 1
        run.append(sent)
        texts.append(text)
        size += len(text)
    if run:
        yield _batch(after, run, texts, tracebacks=tracebacks)


def _batch(after: int, run: Sequence[Event], texts: Sequence[bytes], *, tracebacks: bool) -> EventBatch:
    return EventBatch(after, run[-1].seq, run, b"[%b]" % b",".join(texts), tracebacks)


def gap(after: int, last: int) -> EventBatch:
    """Return the batch which says that the events up to `last` are gone."""
    return EventBatch(after, last, (), b"", tracebacks=False)
