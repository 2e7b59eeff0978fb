"""How events become JSON on the wire: without what is too large, or not to be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import attrs

from .._json.values import encode, encode_flat, to_json
from .._model.job import Ended, Event

LARGE: Final = 2**20
"""Most bytes of JSON in a value of a job or an event; a larger one is left out, and read by itself."""
_NAMES: Final = tuple(field.name for field in attrs.fields(Event))
_NOTHING_RECEIVED: Final = b'"received":null,'


@attrs.frozen
class Large:
    """In place of a value that is over `LARGE`, and is read by itself.

    Attributes:
        size: The bytes of its JSON.
    """

    size: int


def encode_event(event: Event, *, tracebacks: bool) -> bytes:
    """Return an event as JSON; data over `LARGE` is replaced by its size.

    Raises:
        InvalidPayload: JSON cannot hold its data.
    """
    return light(event, tracebacks=tracebacks)[1]


def light(event: Event, *, tracebacks: bool) -> tuple[Event, bytes]:
    """Return an event as it is sent, and its JSON; see `encode_event`."""
    event = shown(event, tracebacks=tracebacks)
    fields = _fields(event)
    text = encode(f"event {event.seq}", fields)
    if len(text) <= LARGE:
        return event, text
    size = len(to_json(event.data))
    del fields["data"]
    return attrs.evolve(event, data=Large(size)), to_json({**fields, "large": size})


def _fields(event: Event) -> dict[str, Any]:
    found = {name: getattr(event, name) for name in _NAMES}
    if event.received is None:  # as of most events
        del found["received"]
    return found


def encode_flat_events(events: Sequence[Event], most: int) -> bytes | None:
    """Return events as a JSON array in one go; None if one of them has to be encoded by itself.

    Args:
        events: The events.
        most: How many characters of text they may have.
    """
    data = encode_flat(events, [event.data for event in events], most)
    # Their data is flat, and text has its quotes escaped: this is never found inside of it.
    return None if data is None else data.replace(_NOTHING_RECEIVED, b"")


def shown(event: Event, *, tracebacks: bool) -> Event:
    """Return an event as a client may see it: without the traceback, unless these are shown."""
    data = event.data
    if not isinstance(data, Ended):
        return event
    if data.error is not None and not tracebacks:
        data = attrs.evolve(data, error=attrs.evolve(data.error, traceback=""))
    if data.delay == math.inf:
        data = attrs.evolve(data, delay=None)  # JSON has no infinity
    return event if data is event.data else attrs.evolve(event, data=data)
