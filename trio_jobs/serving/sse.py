"""Server-sent events: a job's log as `text/event-stream`.

The format is that of the HTML standard (https://html.spec.whatwg.org/multipage/server-sent-events.html):
fields on lines, an empty line after each event. There a line may end in CR, LF or both. Some readers know
more line ends, as `splitlines` of Python does. So text is split at all of these, in JSON they are escaped,
and no text of a job can begin a field.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .._common.errors import quoted
from .._json.values import to_json
from .._model.job import Event, Kind
from .._watching.lines import CANCELLED, DONE, what_failed
from .._watching.streams import failure
from .._wire.events import Large, shown
from .._wire.requests import BadRequest

PING: Final = b": ping\n\n"
_DIGITS: Final = 16
_NAMES: Final = {Kind.EXPIRED: Kind.FAILED}  # a browser gets the state of the job


def field(name: str, text: str) -> str:
    """Return a field, on as many lines as its text has."""
    lines = f"{text}.".splitlines()  # with its end marked: an empty last line is one, too
    lines[-1] = lines[-1][:-1]
    return "".join(f"{name}: {line}\n" for line in lines)


def on_one_line(json: str) -> str:
    """Return JSON without what some readers take for a line end; JSON itself escapes those in ASCII."""
    if json.isascii():
        return json
    return json.replace("\x85", r"\u0085").replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


def data_event(value: object) -> str:
    """Return an event that is nothing but data: a value as JSON, on one line."""
    return f"data: {on_one_line(to_json(value).decode())}\n\n"


def message(event: str, data: str, cursor: int) -> str:
    """Return one event: its id is the cursor to resume behind it."""
    return f"id: {cursor}\nevent: {event}\n{field('data', data)}\n"


def encode_sse(events: Iterable[Event], after: int, last: int, *, tracebacks: bool) -> bytes:
    """Return events that JSON can hold, or the gap from `after` to `last` if there are none."""
    found = [_one(event, tracebacks=tracebacks) for event in events]
    if not found:
        found = [message("gap", f'{{"first":{after + 1},"last":{last}}}', last)]
    return "".join(found).encode()


def _one(event: Event, *, tracebacks: bool) -> str:
    if event.kind.ends:
        return message(_NAMES.get(event.kind, event.kind), ending(event), event.seq)
    data = event.data
    if isinstance(data, Large):
        return message("large", f'{{"kind":"{event.kind}","bytes":{data.size}}}', event.seq)
    if type(data) is not str:
        data = shown(event, tracebacks=tracebacks).data
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {on_one_line(to_json(data).decode())}\n\n"


def ending(event: Event) -> str:
    """Return the text of a terminal event, as `execute_and_stream` has it."""
    if event.kind is Kind.COMPLETED:
        return DONE
    if event.kind is Kind.CANCELLED:
        return CANCELLED
    return f"[ERROR] {what_failed(failure('', event.attempt, event.data))}"


def chunk(data: bytes) -> bytes:
    """Return a chunk of HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def cursor_of(text: str | None) -> int | None:
    """Return the cursor that a `Last-Event-ID` or a parameter names; None if there is none.

    Raises:
        BadRequest: The text is no cursor.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise BadRequest(f"a cursor is a whole number, as the id of an event; got {quoted(text)}")
    return int(text)
