"""`find` and `count`: which jobs are meant."""

from __future__ import annotations

from collections import Counter

from ..._job import Priority
from ..._states import State
from ..._store import Store, Where
from ._kit import ALL, HOLDER, Opener, accept, expect, make, other_work


async def _four(store: Store) -> dict[str, str]:
    """Make four jobs, one after the other: a runs, b and c wait, d is a child of a."""
    a = make("a", tags={"user": "7", "size": "L"}, priority=Priority.URGENT)
    b, c = make("b", tags={"user": "7"}), make("c", owner="me", target=other_work)
    await accept(store, a)
    await store.claim(1, HOLDER)
    await accept(store, b)
    await accept(store, c)
    d = make("d", tags={"size": "L"})
    await store.spawn(a.id, 1, d, HOLDER)
    return {a.id: "a", b.id: "b", c.id: "c", d.id: "d"}


def _questions(parent: str) -> list[tuple[Where, str]]:
    return [
        (Where(), "abcd"),
        (Where(states={State.QUEUED}), "bc"),
        (Where(states=[State.QUEUED, State.RUNNING]), "abcd"),
        (Where(states={State.FAILED}), ""),
        (Where(states=()), ""),
        (Where(tags={"user": "7"}), "ab"),
        (Where(tags={"user": "7", "size": "L"}), "a"),
        (Where(tags={"user": "8"}), ""),
        (Where(tags={"7": "user"}), ""),
        (Where(tags={}), "abcd"),
        (Where(handler="other_work"), "c"),
        (Where(handler="nobody"), ""),
        (Where(owner="me"), "c"),
        (Where(owner="you"), ""),
        (Where(parent=parent), "d"),
        (Where(parent="nobody"), ""),
        (Where(states={State.QUEUED}, tags={"user": "7"}), "b"),
        (Where(states={State.RUNNING}, tags={"size": "L"}, handler="work", parent=parent), "d"),
        (Where(states={State.RUNNING}, owner="me"), ""),
    ]


async def find_gives_what_matches(open_store: Opener) -> None:
    """A job is found when each field that is given matches; the oldest comes first."""
    async with open_store() as store:
        names = await _four(store)
        for where, wanted in _questions(next(iter(names))):
            found = "".join(names[job.id] for job in await store.find(where, ALL))
            expect(f"find of {where}", found, wanted)


async def find_stops_at_its_limit(open_store: Opener) -> None:
    """`find` returns up to `limit` jobs, the oldest of those that match; on request, the newest."""
    async with open_store() as store:
        names = await _four(store)
        for limit in range(6):
            found = "".join(names[job.id] for job in await store.find(Where(), limit))
            expect(f"find with limit={limit}", found, "abcd"[:limit])
            found = "".join(names[job.id] for job in await store.find(Where(), limit, newest=True))
            expect(f"find of the newest with limit={limit}", found, "dcba"[:limit])
        found = "".join(names[job.id] for job in await store.find(Where(states={State.QUEUED}), 1))
        expect("find of QUEUED jobs with limit=1", found, "b")


async def find_and_get_agree(open_store: Opener) -> None:
    """What `find` returns is what `get` returns."""
    async with open_store() as store:
        await _four(store)
        for job in await store.find(Where(), ALL):
            expect("find, then get", await store.get(job.id), job)


async def count_counts_what_find_finds(open_store: Opener) -> None:
    """`count` says how many matching jobs are in each state, and leaves out states without any."""
    async with open_store() as store:
        expect("count of an empty store", dict(await store.count(Where())), {})
        names = await _four(store)
        for where, _ in _questions(next(iter(names))):
            wanted = Counter(job.state for job in await store.find(where, ALL))
            expect(f"count of {where}", dict(await store.count(where)), dict(wanted))
