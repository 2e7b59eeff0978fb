"""Judge how many jobs ran at once and started per second, and whose turn it was; see `_judge.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import ceil, inf
from typing import TYPE_CHECKING

import attrs

from ._asked import SLACK, Found
from ._order import Stay, stays_of
from .fold import end_of

if TYPE_CHECKING:
    from .._model.limits import Limit
    from ._history import History


@attrs.frozen
class _Place:
    """An attempt's place under a limit: whose, since when, until when, and whether its handler ran."""

    job_id: str
    since: float
    until: float
    began: bool


def _places(history: History) -> Iterator[tuple[str, Limit, list[_Place]]]:
    """Return each limit, for each key, with the places that were taken, in order of time."""
    ran = {(run.job_id, run.attempt) for run in history.runs}
    found: dict[tuple[str, str | None], tuple[Limit, list[_Place]]] = {}
    for job in history.jobs.values():
        log, options = history.logs.get(job.id, []), history.options.get(job.id)
        for name, limit in history.limits.get(job.handler, {}).items() if job.parent is None else ():
            if limit.keyed and options is None:
                continue  # its key is not known
            key = options["limit_key"] if limit.keyed and options is not None else None
            places = found.setdefault((name, key), (limit, []))[1]
            for event in log:
                if event.kind == "started":
                    end, began = end_of(log, event.attempt), (job.id, event.attempt) in ran
                    until = inf if end is None else end.timestamp
                    places.append(_Place(job.id, event.timestamp, until, began))
    for (name, key), (limit, places) in found.items():
        what = name if key is None else f"{name} of {key!r}"
        yield what, limit, sorted(places, key=lambda place: place.since)


def places_are_kept(history: History) -> Found:
    """Never do more jobs run under a limit than it lets, whoever claimed them."""
    for what, limit, places in _places(history):
        for place in places if limit.at_once is not None else ():
            beside = sum(one.since <= place.since < one.until for one in places)
            if beside > (limit.at_once or 0):
                yield (
                    place.job_id,
                    f"it was one of {beside} that ran under {what}, which lets {limit.at_once}",
                )


def rates_are_kept(history: History) -> Found:
    """In any `t` seconds no more than `burst + per_second * t` jobs start that begin."""
    for what, limit, places in _places(history):
        rate = limit.per_second
        if rate is None:
            continue
        burst, starts = limit.burst or max(1, ceil(rate)), [place for place in places if place.began]
        for first, one in enumerate(starts):
            for count, other in enumerate(starts[first:], 1):
                if count > burst + rate * (other.since - one.since + SLACK):
                    took = other.since - one.since
                    yield other.job_id, f"it was the {count}th to start under {what} in {took:g} s"
                    return


def keys_take_turns(history: History) -> Found:
    """While a key waits that uses nothing of its limit, each other one of the handler starts one job."""
    lanes: Mapping[tuple[str, str | None], list[Stay]] = defaultdict(list)
    used = {what: places for what, _, places in _places(history)}
    for stay in stays_of(history):
        if stay.lane is not None:
            lanes[stay.lane].append(stay)
    for (handler, key), stays in lanes.items():
        for name, limit in history.limits.get(handler, {}).items() if key is not None else ():
            if not limit.keyed:
                continue
            idle = limit.burst or max(1, ceil(limit.per_second or 0))
            rests = 0.0 if limit.per_second is None else idle / limit.per_second
            for stay in stays:
                since, until = stay.due + SLACK, stay.left - SLACK
                if any(
                    one.since < until and since < max(one.until, one.since + rests)
                    for one in used.get(f"{name} of {key!r}", ())
                ):
                    continue
                for other in (other for one, other in lanes if one == handler and other != key):
                    others = used.get(f"{name} of {other!r}", ())
                    count = sum(since < one.since < until for one in others)
                    if count > 1:
                        yield stay.job_id, f"{count} jobs of {other!r} started while it waited for {key!r}"
