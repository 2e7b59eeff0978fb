"""Select jobs: the filter of `find`, `count` and `cancel_where`, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, cast

from .._common.states import UNFINISHED, Reason, State, StateName
from .._common.validate import choice, number, tags, text, whole
from .._model.job import REPEATED
from ..stores.contract import Store, Where
from ..stores.records import PAGE_JOBS

if TYPE_CHECKING:
    from .._model.summary import JobSummary


class AtLeast(int):
    """A count that was stopped at its limit: there may be more."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the class and the number."""
        return f"AtLeast({int(self)})"


class Filter(TypedDict, total=False):
    """Selects jobs; a job must match every field that is given.

    Attributes:
        state: One state, or several, each a `State` or its name.
        tags: Tags that the job must have, perhaps among others.
        handler: The handler's name.
        owner: The owner.
        parent: The id of the job that spawned it.
        older_than: How many seconds ago it ended, at least.
        newer_than: How many seconds ago it ended, at most; or was submitted, if it has not ended.
        id_prefix: What its id begins with.
        args_contain: A piece of its arguments as JSON, in the same case, see `JobSummary.args_text`. Those
            of more than 16 KiB, and hidden ones, are not searched. All jobs the other fields leave are read.
    """

    state: State | StateName | Iterable[State | StateName]
    tags: Mapping[str, str]
    handler: str
    owner: str
    parent: str
    older_than: float
    newer_than: float
    id_prefix: str
    args_contain: str


class Search(Filter, total=False):
    """Selects jobs to look at.

    Attributes:
        reason: Why a job is in its state; with `awaiting_input`, those that wait for an input.
    """

    reason: Reason | str


async def every(store: Store, where: Where) -> list[JobSummary]:
    """Return all the jobs that match, page by page, the oldest first."""
    found: list[JobSummary] = []
    page = await store.find(where, PAGE_JOBS)
    found += page
    while page.next is not None:
        page = await store.find(where, PAGE_JOBS, after=page.next)
        found += page
    return found


_STATES, _REASONS = tuple(map(str, State)), tuple(map(str, Reason))
_NAMES = ("handler", "owner", "parent", "id_prefix", "args_contain")


def check_page_limit(limit: int, least: int = 0) -> None:
    """Raise `TypeError` or `ValueError` if `limit` is not how many jobs a page may have."""
    whole("limit", limit, least)
    if limit > PAGE_JOBS:
        raise ValueError(
            f"a page has at most {PAGE_JOBS} jobs, go on with find(after=page.next); got limit={limit}"
        )


def check_page(limit: int, after: str | None) -> None:
    """Raise `TypeError` or `ValueError` if there is no page of so many jobs, or after this one."""
    check_page_limit(limit)
    from .._model.summary import place_of  # loaded with what finds jobs

    place_of(after)


def where_of(filter_: Filter | Search) -> Where:
    """Return the checked filter.

    Raises:
        TypeError: A field is unknown or has the wrong type.
        ValueError: There is no such state, or no such reason.
    """
    given = cast("Search", filter_)
    unknown = set(given) - set(Search.__annotations__)
    if unknown:
        known = ", ".join(Search.__annotations__)
        raise TypeError(f"cannot find jobs by {', '.join(sorted(unknown))}; it takes {known}")
    state = given.get("state")
    states = None
    if state is not None:
        several = [state] if isinstance(state, str) else state
        states = frozenset(State(choice("state", one, _STATES)) for one in several)
    reason = Reason(choice("reason", given["reason"], _REASONS)) if "reason" in given else None
    if reason in REPEATED and states is None:
        states = frozenset({State.RETRYING})  # of which there are few, and an index leads to them
    if (older_than := given.get("older_than")) is not None:
        number("older_than", older_than)
        states = frozenset(State) - UNFINISHED if states is None else states
    if (newer_than := given.get("newer_than")) is not None:
        number("newer_than", newer_than)
    wanted = tags(given["tags"]) if "tags" in given else None
    names: dict[str, Any] = {name: text(name, given.get(name)) for name in _NAMES if name in given}
    return Where(states, wanted, reason=reason, older_than=older_than, newer_than=newer_than, **names)
