"""Stand in for handlers, where no code of them is loaded."""

from __future__ import annotations

from collections.abc import Iterable

from .._model.handler import handler
from .._model.handlers import Handler
from .._model.limits import Limit
from .._model.retry import Retry


def stand_ins(names: Iterable[str]) -> list[Handler]:
    """Return handlers of these names that take any arguments: what a job was submitted with is copied."""
    return [stand_in(name) for name in dict.fromkeys(names)]


def stand_in(name: str, *, keyed: bool = False) -> Handler:
    """Return a handler of this name that takes any arguments, and a `limit_key` if that is said."""

    @handler(name=name, retry=Retry(on=_as_before), limits=[Limit(at_once=1, keyed=True)] if keyed else [])
    async def unknown(*_: object, **__: object) -> None:  # noqa: ASYNC124  # in the place of a handler
        """Take any arguments."""

    return unknown


def _as_before(_: BaseException) -> bool:
    """Stand for what the mark of a handler says is retried: a file keeps only that it is that."""
    raise AssertionError
