"""What may happen to jobs under limits, at random, in memory and in another store: both answer the same."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import attrs
import trio
from trio.testing import MockClock

from trio_jobs import Busy, Limit, QueueFull
from trio_jobs.stores import Claimant, Outcome, Store, Submission
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing.checks import kit

HANDLERS = (kit.work, kit.other_work)
WORK, OTHER = (fn.__name__ for fn in HANDLERS)
WORKER = Claimant("w", 1000.0)


class Stores(NamedTuple):
    """The same jobs in memory and in another store, and what finds something wrong in the latter."""

    memory: MemoryStore
    other: Any
    miscounted: Callable[[Any], Awaitable[list[Any]]]

    async def both(self, verb: str, *args: Any) -> Any:
        """Call a verb of both, and return the answer, or the error, which has to be the same."""
        answers = [await outcome_of(store, verb, *args) for store in self[:2]]
        assert answers[0] == answers[1]
        assert await self.miscounted(self.other) == []
        return answers[0]


async def outcome_of(store: Any, verb: str, *args: Any) -> Any:
    try:
        answer = await getattr(store, verb)(*args)
    except (QueueFull, Busy) as error:
        return type(error).__name__
    if verb == "claim":
        return [(claim.submission.id, claim.attempt) for claim in answer]
    if verb == "submit":
        return answer[0], [(claim.submission.id, claim.attempt) for claim in answer[1]]
    return answer


async def waits(store: Store) -> bool:
    """Return whether `due` waits."""
    with trio.move_on_after(0.001) as scope:
        await store.due()
    return scope.cancelled_caught


class Course:
    """What may happen to jobs under limits, drawn from a seed.

    Args:
        stores: The stores.
        clock: The clock of both.
        seed: The seed.
    """

    def __init__(self, stores: Stores, clock: MockClock, seed: int) -> None:
        self.stores = stores
        self.clock = clock
        self.draw = random.Random(seed)
        self.known: list[str] = []
        self.running: dict[str, int] = {}
        self.sent = 0

    async def go(self, steps: int) -> None:
        """Take so many steps."""
        await self.limit()
        for _ in range(steps):
            step = self.draw.choice(
                [self.submit] * 4
                + [self.claim] * 4
                + [self.finish] * 4
                + [self.cancel, self.send, self.limit, self.wait]
            )
            await step()
            self.clock.jump(0.01)  # no rank is that of another handler's job: stores order these as they like
        assert await waits(self.stores.memory) == await waits(self.stores.other)

    def new(self, fn: Any) -> Submission:
        new = kit.make(
            target=fn,
            priority=self.draw.choice([0, 2, 2, 2]),
            delay=self.draw.choice([0.0, 0.0, 0.0, self.draw.uniform(1, 7)]),
        )
        key = self.draw.choice("abc") if fn is kit.work else None
        return attrs.evolve(new, options=attrs.evolve(new.options, limit_key=key))

    async def submit(self) -> None:
        fn = self.draw.choice(HANDLERS)
        batch = [self.new(fn) for _ in range(self.draw.randint(1, 4))]
        if len(batch) == 1 and self.draw.random() < 0.5:
            on_busy: Any = self.draw.choice(["after", "replace"])
            named: Any = {"exclusive": self.draw.choice("xy"), "on_busy": on_busy}
            batch[0].options = attrs.evolve(batch[0].options, **named)
        answer = await self.stores.both("submit", batch, self.draw.choice([0, 0, 1, 2]), WORKER)
        if not isinstance(answer, str):
            self.known += answer[0]
            self.running |= dict(answer[1])

    async def claim(self) -> None:
        self.running |= dict(await self.stores.both("claim", self.draw.choice([1, 2, 5]), WORKER))
        assert await waits(self.stores.memory) == await waits(self.stores.other)

    async def finish(self) -> None:
        if self.running:
            job_id = self.draw.choice(sorted(self.running))
            await self.stores.both("finish", job_id, self.running.pop(job_id), self.draw.choice(ENDS))

    async def cancel(self) -> None:
        if self.known:
            await self.stores.both("request_cancel", self.draw.choice(self.known), None)
            await self.claim()  # a key that waits no more, and again before a claim, keeps its turn in a file

    async def send(self) -> None:
        job_id = self.draw.choice(self.known or ["none"])
        if job_id in self.known and not (await self.stores.memory.get(job_id)).state.over:
            self.sent += 1
            await self.stores.both("send", job_id, str(self.sent), ["an input"])

    async def limit(self) -> None:
        shared = {"shared": Limit(at_once=self.draw.choice([2, 4, 9]), waiting=self.draw.choice([6, 20]))}
        bound: dict[str, Any] = self.draw.choice(BOUNDS)
        own = {f"{WORK}[0]": Limit(**bound, keyed=self.draw.random() < 0.8)}
        await self.stores.both("limit", WORK, self.draw.choice([own, own | shared]))
        await self.stores.both("limit", OTHER, self.draw.choice([{}, shared, shared]))

    async def wait(self) -> None:
        self.clock.jump(self.draw.choice([0.5, 3.0, 8.0]))
        await trio.lowlevel.checkpoint()


ENDS: Sequence[Outcome] = [
    kit.completed(),
    kit.failed(),
    kit.retried(delay=4.0),
    kit.retried(delay=0.0),
    kit.awaiting(),
]
BOUNDS: Sequence[dict[str, Any]] = [
    {"at_once": 1},
    {"at_once": 2, "waiting": 5},
    {"per_second": 0.5, "burst": 2},
    {"at_once": 3, "per_second": 0.2},
]
