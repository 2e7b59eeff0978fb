"""Limit how many jobs start: the record, and how the limits of a handler are checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast, get_type_hints

import attrs

from .._common.errors import quoted
from .._common.validate import number, text, whole

LEAST_RATE: Final = 1e-6
MOST_RATE: Final = 1e5
"""Between these lies `Limit.per_second`: a clock in seconds since 1970 cannot tell closer starts apart."""

LIMIT_NAME: Final = 100
"""How many characters the name of a shared limit has at most."""


def _count(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        whole(field.name, value, 1)


def _rate(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        number(field.name, value, LEAST_RATE, MOST_RATE)


def _flag(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{field.name} takes True or False; got {quoted(value)}")


@attrs.frozen(kw_only=True)
class Limit:
    """How many jobs may run at once, and start per second; None is no bound.

    A job over a limit waits, and holds up no job that is not. A job runs under all limits of its handler or
    does not start; its place is free again when its attempt ends, or is reclaimed.

    Attributes:
        at_once: How many run at once.
        per_second: How many start per second: in any t seconds at most `burst + per_second * t`.
        burst: How many start at one moment after a pause; by default `per_second` rounded up.
        waiting: How many may wait; a `submit` beyond that raises `QueueFull`. Jobs that await an input do not
            count; those that stand behind an exclusive one do.
        keyed: Whether the limit holds for each `limit_key` by itself. The keys of a handler take turns.
    """

    at_once: int | None = attrs.field(default=None, validator=_count)
    per_second: float | None = attrs.field(default=None, validator=_rate)
    burst: int | None = attrs.field(default=None, validator=_count)
    waiting: int | None = attrs.field(default=None, validator=_count)
    keyed: bool = attrs.field(default=False, validator=_flag)

    def __attrs_post_init__(self) -> None:
        """Refuse a limit that limits nothing."""
        if self.per_second is None and self.burst is not None:
            raise ValueError("burst needs per_second: it says how many start at one moment at that rate")
        if self.at_once is None and self.per_second is None and self.waiting is None:
            raise ValueError("a Limit needs at_once, per_second or waiting; it would limit nothing")

    @property
    def most(self) -> int:
        """How many may start at one moment by the rate, if there is one."""
        return self.burst or max(1, math.ceil(self.per_second or 0))


@attrs.frozen(kw_only=True)
class LimitStatus:
    """A limit of a store, and what is used of it.

    Attributes:
        name: Its name; of one that no other handler shares, that of the handler and its place.
        limit: What it says.
        pinned: Whether it was set by `JobRegistry.limits`, and not by the last registry that was opened.
        running: How many jobs run under it; of a keyed one, over all keys.
        waiting: How many wait, counted as `Limit.waiting` counts them.
    """

    name: str
    limit: Limit
    pinned: bool
    running: int
    waiting: int


# Read now, as those of `ScheduleStatus`.
LimitStatus.__annotations__ = get_type_hints(LimitStatus)


def check_limits(given: object) -> tuple[str | Limit, ...]:
    """Return the limits of a handler, checked.

    Raises:
        TypeError: They are not names and `Limit` records.
        ValueError: There are two of a name, or two that hold for each key.
    """
    if isinstance(given, (str, Limit)) or not isinstance(given, Iterable):
        raise TypeError(f"limits takes a list of names and Limit records; got {quoted(given)}")
    found = tuple(cast("Iterable[object]", given))
    for one in found:
        if not isinstance(one, (str, Limit)):
            raise TypeError(
                f"limits takes names and Limit records, such as ['gpu', Limit(at_once=4)]; got {quoted(one)}"
            )
    limits = cast("tuple[str | Limit, ...]", found)
    names = [limit_name(one) for one in limits if isinstance(one, str)]
    if len(set(names)) < len(names):
        raise ValueError(f"limits names one limit twice: {', '.join(map(repr, names))}; name it once")
    if sum(isinstance(one, Limit) and one.keyed for one in limits) > 1:
        raise ValueError(
            "a handler has one keyed limit; give at_once and per_second in one Limit(keyed=True)"
        )
    return limits


def limit_name(name: object) -> str:
    """Return the name of a shared limit, checked. Raises `TypeError` or `ValueError`."""
    if not 1 <= len(text("the name of a limit", name)) <= LIMIT_NAME or str(name).endswith("]"):
        raise ValueError(
            f"the name of a limit has 1 to {LIMIT_NAME} characters and does not end with ']'; "
            f"got {quoted(name)}"
        )
    return str(name)


def check_shared(given: object) -> Mapping[str, Limit]:
    """Return the limits that handlers share, by name, checked.

    Raises:
        TypeError: They are not `Limit` records by name.
        ValueError: A name is not one, or a limit is keyed.
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            f"limits takes Limit records by name, as in {{'gpu': Limit(at_once=4)}}; got {quoted(given)}"
        )
    for name, limit in cast("Mapping[object, object]", given).items():
        limit_name(name)
        if not isinstance(limit, Limit):
            raise TypeError(f"limits[{name!r}] takes a Limit record; got {quoted(limit)}")
        if limit.keyed:
            raise ValueError(
                f"limits[{name!r}] is keyed, and each handler has its keys for itself: give it as "
                "@handler(limits=[Limit(…, keyed=True)])"
            )
    return dict(cast("Mapping[str, Limit]", given))


def limits_of(handler: str, own: Iterable[str | Limit], shared: Mapping[str, Limit]) -> dict[str, Limit]:
    """Return the limits of a handler by name; those that it does not share are named after it.

    Raises:
        ValueError: No shared limit has a name.
    """
    found: dict[str, Limit] = {}
    for place, one in enumerate(own):
        if isinstance(one, Limit):
            found[f"{handler}[{place}]"] = one
        elif one in shared:
            found[one] = shared[one]
        else:
            raise ValueError(
                f"handler {handler!r} has the limit {one!r}, which is not defined; define it in "
                f"open_registry(limits={{{one!r}: Limit(…)}}), or in limits of the module of a worker"
            )
    return found
