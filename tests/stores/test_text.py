"""Texts that not every store can hold: all stores agree on what becomes of them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

from trio_jobs import Ended, ErrorRecord, InvalidPayload, Kind, Reason, State
from trio_jobs.stores import Outcome, Transition, Where
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.postgres import open_postgres
from trio_jobs.stores.sqlite import open_sqlite
from trio_jobs.testing.checks.kit import HOLDER, LONG, completed, failed, make, started, work

NUL, SURROGATE = "a\0b", "a\ud800b"
BY_ID: dict[str, Callable[[Any, str], Awaitable[Any]]] = {
    "get": lambda store, bad: store.get(bad),
    "read": lambda store, bad: store.read(bad, 0, 9),
    "history": lambda store, bad: store.history(bad),
    "follow": lambda store, bad: store.follow(bad, 0, 9),
    "ended": lambda store, bad: store.ended(bad),
    "inputs": lambda store, bad: store.inputs(bad, 0, 9),
    "submission": lambda store, bad: store.submission(bad),
    "send": lambda store, bad: store.send(bad, "i", [1]),
    "send also by": lambda store, bad: store.send(bad, bad, [bad]),
    "end_inputs": lambda store, bad: store.end_inputs(bad),
    "remove": lambda store, bad: store.remove(bad),
    "request_cancel": lambda store, bad: store.request_cancel(bad, None),
    "request_cancel, saying": lambda store, bad: store.request_cancel("nobody", bad),
    "append": lambda store, bad: store.append(bad, 1, Kind.TOKEN, [1], 0),
    "append by claim": lambda store, bad: store.append("nobody", 1, Kind.TOKEN, [1], 0, claim=bad),
    "finish": lambda store, bad: store.finish(bad, 1, completed()),
    "finish by claim": lambda store, bad: store.finish("nobody", 1, completed(), bad),
    "spawn": lambda store, bad: store.spawn(bad, 1, make(), HOLDER),
}
FILTERS = [
    Where(handler=NUL),
    Where(owner=NUL),
    Where(parent=NUL),
    Where(tags={NUL: "x"}),
    Where(tags={"x": NUL}),
]
REFUSED: dict[str, Callable[[Any, str], Awaitable[Any]]] = {
    "key": lambda store, bad: submit(store, key=bad),
    "owner": lambda store, bad: submit(store, owner=bad),
    "tags": lambda store, bad: submit(store, tags={"x": bad}),
    "exclusive": lambda store, bad: submit(store, exclusive=bad),
    "limit_key": lambda store, bad: submit(store, limit_key=bad),
    "metadata": lambda store, bad: submit(store, metadata={"x": bad}),
    "worker": lambda store, bad: store.submit([make()], 1, HOLDER._replace(name=bad)),
    "pause": lambda store, bad: store.pause_handlers([bad], paused=True),
    "remove_schedule": lambda store, bad: store.remove_schedule(bad),
    "pin_limit": lambda store, bad: store.pin_limit(bad, None),
}


async def submit(store: Any, key: str | None = None, **options: Any) -> None:
    new = attrs.evolve(make(), key=key)
    new.options = attrs.evolve(new.options, **options)
    await store.submit([new], 0, HOLDER)


async def outcome_of(call: Awaitable[Any]) -> object:
    try:
        return await call
    except Exception as error:  # noqa: BLE001  # which one it is matters
        return type(error)


async def test_what_cannot_be_there_is_unknown_everywhere(tmp_path: Path, postgres_url: str) -> None:
    """To ask for what holds NUL or a lone surrogate is to ask for what is not there, in each store."""
    async with AsyncExitStack() as stack:
        stores: list[Any] = [
            MemoryStore(),
            await stack.enter_async_context(open_sqlite(tmp_path / "jobs.db", handlers=[work])),
            await stack.enter_async_context(open_postgres(postgres_url, handlers=[work])),
        ]
        for name, call in BY_ID.items():
            for bad in NUL, SURROGATE:
                found = [await outcome_of(call(store, bad)) for store in stores]
                assert found == found[:1] * 3, (name, bad)
        for where in FILTERS:
            found = [((await store.find(where, 9)).jobs, dict(await store.count(where))) for store in stores]
            assert found == [((), {})] * 3, where
        for store in stores:
            assert (await store.heartbeat({NUL: 1, "b": 2}, LONG)).lost == {NUL, "b"}
            assert await store.listening({NUL: 0})


@pytest.mark.parametrize("bad", [NUL, SURROGATE], ids=["nul", "surrogate"])
async def test_words_for_people_are_replaced_in_postgresql(bad: str, postgres_url: str) -> None:
    """No words keep an attempt from ending, or a job from being cancelled; they stay readable."""
    kept, error = "a\ufffdb", ErrorRecord(bad, bad, bad)
    async with open_postgres(postgres_url, handlers=[work]) as store:
        for outcome in (
            failed(bad, error),
            Outcome(Transition.RETRIED, None, Ended(Reason.ERROR, bad, error, math.inf)),
        ):
            job_id = await started(store)
            await store.finish(job_id, 1, outcome)
            job = await store.get(job_id)
            assert (job.message, job.error) == (kept, ErrorRecord(kept, kept, kept))
            last = (await store.history(job_id))[-1].data
            assert (last.message, last.error) == (job.message, job.error)
            assert (await store.find(Where(), 1, newest=True)).jobs[0].message == kept
        job_id = await started(store)
        await store.request_cancel(job_id, bad)
        assert (
            await store.finish(job_id, 1, Outcome(Transition.CANCELLED, None, Ended(Reason.USER)))
            is State.CANCELLED
        )
        assert (await store.get(job_id)).message == kept


async def test_names_are_refused_before_they_reach_postgresql(postgres_url: str) -> None:
    """A name that cannot be stored is `InvalidPayload`, and disturbs no other call."""
    async with open_postgres(postgres_url, handlers=[work]) as store:
        for name, call in REFUSED.items():
            for bad in NUL, SURROGATE:
                found = await outcome_of(call(store, bad))
                assert found in (InvalidPayload, UnicodeEncodeError), (name, bad)
        job_id = await started(store)
        assert await outcome_of(store.send(job_id, NUL, [1])) is InvalidPayload
        assert [job.id for job in (await store.find(Where(), 9)).jobs] == [job_id]
