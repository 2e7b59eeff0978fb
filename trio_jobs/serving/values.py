"""The values of a job as JSON: as part of the job, or, if they are large, by themselves and in pieces.

A value that is read in pieces is made into JSON once for all its readers. It is kept until one of them has
read its end, or others need the room.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, cast

import attrs
import trio

from .._common.errors import InvalidPayload, UnknownJob
from .._json.records import plain
from .._json.values import encode, whole, written
from .._model.job import Event, Job, Kind
from .._wire.decoding import json_fields
from .._wire.events import LARGE
from .._wire.requests import BadRequest, GetValue
from ..stores.contract import Store
from .problems import Refused

FIELDS: Final = ("result", "saved", "metadata", "args", "kwargs")
"""The fields of a job that may have any size."""
ARGS: Final = 64 * 1024
"""How many bytes of arguments a job has as JSON, by place and by name; of its other values `LARGE`."""
_ARGUMENTS: Final = frozenset({"args", "kwargs"})
_FIXED: Final = _ARGUMENTS | {"metadata"}  # which never change
PIECE: Final = 256 * 1024
KEPT: Final = 64 * 2**20
_GOES_ON: Final = 0b1000_0000  # the first bits of each byte of a character in UTF-8 but its first


def outweighs(value: object, most: int) -> bool:
    """Return whether a value takes more bytes of memory than `most`, looking at no more of it than that."""
    stack = [value]
    while stack and most >= 0:
        item = stack.pop()
        most -= sys.getsizeof(item)
        if isinstance(item, Mapping):
            found = cast("Mapping[object, object]", item)
            stack += [*found, *found.values()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            stack += cast("Iterable[object]", item)
        elif (fields := getattr(type(item), "__attrs_attrs__", None)) is not None:
            stack += [getattr(item, field.name, None) for field in fields]
    return most < 0


async def made(make: Callable[[], bytes], of: object) -> bytes:
    """Return the JSON that `make` returns; if the value that it is made of is large, call it in a thread."""
    return await trio.to_thread.run_sync(make, abandon_on_cancel=True) if outweighs(of, LARGE) else make()


def encode_job(job: Job, *, tracebacks: bool, most: int = LARGE) -> bytes:
    """Return a job as JSON; in place of fields that have more bytes than `most`, how many.

    Raises:
        InvalidPayload: JSON cannot hold a value.
    """
    if job.error is not None and not tracebacks:
        job = attrs.evolve(job, error=attrs.evolve(job.error, traceback=""))
    record = plain(job)
    given = {name: record.pop(name) for name in sorted(_ARGUMENTS)}
    texts = {name: encode(f"job {job.id}", record.pop(name)) for name in FIELDS if name in record}
    for name, value in given.items():
        try:
            texts[name] = encode_args(job.id, value)
        except InvalidPayload:  # of a job in memory, which is shown still
            texts[name] = b"null"
    bound = dict.fromkeys(given, min(most, ARGS))
    large = {name: len(text) for name, text in texts.items() if len(text) > bound.get(name, most)}
    if large:
        record["large"] = large
    whole = json_fields({name: text for name, text in texts.items() if name not in large})
    return b"%b%b}" % (encode(f"job {job.id}", record)[:-1], whole and b"," + whole)


def encode_args(job_id: str, args: tuple[Any, ...] | Mapping[str, Any] | None) -> bytes:
    """Return the arguments of a job, by place or by name, as JSON, to be shown: their types may be lost.

    Raises:
        InvalidPayload: JSON cannot hold one.
    """
    return whole(args, partial(written, f"the arguments of job {job_id}", typed_keys=True))


@attrs.frozen
class Value:
    """A value as JSON.

    Attributes:
        owner: The owner of the job.
        data: The JSON.
    """

    owner: str | None
    data: bytes

    def piece(self, offset: int) -> tuple[str, int | None]:
        """Return the text at an offset, and the offset behind it; None at the end.

        Raises:
            BadRequest: No piece begins there.
        """
        data, end = self.data, min(offset + PIECE, len(self.data))
        while end < len(data) and data[end] & 0b1100_0000 == _GOES_ON:  # inside a character
            end -= 1
        try:
            if offset >= end:
                raise BadRequest(f"the value has {len(data)} bytes; there is none at offset {offset}")
            return data[offset:end].decode(), end if end < len(data) else None
        except UnicodeDecodeError:
            raise BadRequest(f"no piece begins at offset {offset}; take it from next") from None


class Values:
    """The values that clients read piece by piece.

    Args:
        store: The store of the jobs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[tuple[str, str, int], Value] = {}
        self._bytes = 0
        self._making = trio.Lock()

    async def get(self, asked: GetValue, owner: str | None) -> Value:
        """Return a value.

        Args:
            asked: The request.
            owner: The owner whose jobs the caller sees; None sees all.

        Raises:
            UnknownJob: No job has this id, or it belongs to another owner.
            Refused: The value is not kept any more.
            InvalidPayload: JSON cannot hold it.
        """
        key = _key(asked)
        if key not in self._kept:
            async with self._making:  # one at a time: no other request costs as much
                if key not in self._kept:
                    value = await self._make(asked, owner)
                    self._kept[key] = value
                    self._bytes += len(value.data)
        value = self._kept[key] = self._kept.pop(key)  # the one that was used last
        if owner not in (None, value.owner):
            raise UnknownJob(asked.job)
        while self._bytes > KEPT and len(self._kept) > 1:
            self._bytes -= len(self._kept.pop(next(iter(self._kept))).data)
        return value

    def forget(self, asked: GetValue) -> None:
        """Drop a value whose end was read."""
        value = self._kept.pop(_key(asked), None)
        if value is not None:
            self._bytes -= len(value.data)

    async def _make(self, asked: GetValue, owner: str | None) -> Value:
        job = await self._store.get(asked.job)
        if owner not in (None, job.owner):
            raise UnknownJob(asked.job)
        if asked.field in _ARGUMENTS:
            args = job.args if asked.field == "args" else job.kwargs
            return Value(job.owner, await made(partial(encode_args, job.id, args), args))
        value: Any = job.result if asked.field == "result" else job.metadata
        if asked.field == "data":
            value = (await self._event(asked.job, asked.seq)).data
        elif asked.field == "saved":
            value = await self._saved(job, asked.seq)
        make = partial(encode, f"{asked.field} of job {asked.job}", value)
        return Value(job.owner, await made(make, value))

    async def _event(self, job_id: str, seq: int) -> Event:
        for event in await self._store.read(job_id, seq - 1, 1) if seq else ():
            if event.seq == seq:
                return event
        raise Refused("changed", f"event {seq} of job {job_id} is not kept")

    async def _saved(self, job: Job, seq: int) -> Any:
        if job.last_seq == seq:
            return job.saved
        events = [event for event in await self._store.history(job.id) if event.kind is Kind.SAVED]
        before = [event for event in events if event.seq <= seq]
        if before:
            return before[-1].data
        if events:
            raise Refused("changed", f"what job {job.id} had saved by event {seq} is not kept")
        return None


def _key(asked: GetValue) -> tuple[str, str, int]:
    return asked.job, asked.field, 0 if asked.field in _FIXED else asked.seq
