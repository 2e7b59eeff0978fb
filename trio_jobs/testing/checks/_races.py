"""Two verbs at once: one is held up at one of its checkpoints, and the other happens meanwhile.

What comes of that has to be what comes of the two one after the other, in one order or the other. What that
is, is written down nowhere: the orders are tried on the same store, when it is empty again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Generator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, TypeAlias, cast

import attrs
import trio

from ..._common.errors import TrioJobsError
from ..._common.states import State
from ...stores.contract import Store, Where
from .._observed import observed
from . import kit
from ._scenes import VERBS, WAITS, Call, Scene, let_pass

MOST: Final = 8
"""Up to which of its checkpoints a verb is held up."""

_WIDTH: Final = 150

Seen: TypeAlias = dict[str, object]
"""What two verbs gave and what can be seen afterwards, each under words for it."""
Order: TypeAlias = Sequence[tuple[str, Call]]


@attrs.frozen
class Meeting:
    """Two verbs that meet.

    Attributes:
        first: The name of the verb that is held up.
        second: The name of the one that happens meanwhile.
    """

    first: str
    second: str

    @property
    def waits(self) -> bool:
        """Whether the first one waits for the second."""
        return self.first in WAITS

    def calls(self) -> Order:
        """Return both, with different names."""
        other = f"{self.second} (the other one)" if self.first == self.second else self.second
        return [(self.first, {**WAITS, **VERBS}[self.first]), (other, VERBS[self.second])]

    def orders(self) -> list[Order]:
        """Return in which order they may seem to have come."""
        calls = self.calls()
        return [calls[::-1]] if self.waits else [calls, calls[::-1]]


def meetings(scene: Scene, *, thorough: bool) -> list[Meeting]:
    """Return which verbs meet in a scene: each meets each, or those after which most is different."""
    verbs = (*scene.changes, *scene.verbs)
    pairs = [(first, second) for first in verbs for second in (verbs if thorough else scene.changes)]
    pairs += [(wait, verb) for wait, verbs in scene.waits.items() for verb in verbs]
    return [Meeting(*pair) for pair in pairs]


class _HeldUp:
    """A call that stands still when it has passed so many checkpoints, until it may go on.

    Attributes:
        stopped: Set once it stands still, or is over.
        over: Whether it is over.
        passed: How many checkpoints it has passed.
        go: Set it to let the call go on.
    """

    def __init__(self, call: Awaitable[Any], at: int) -> None:
        self.stopped, self.go = trio.Event(), trio.Event()
        self.over, self.passed = False, 0
        self._call, self._at = call, at

    async def run(self) -> Any:
        try:
            return await self
        finally:
            self.over = True
            self.stopped.set()

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine: Any = self._call.__await__()
        step, value = coroutine.send, None
        while True:
            try:
                waits_for = step(value)
            except StopIteration as stop:
                return stop.value
            try:
                step, value = coroutine.send, (yield waits_for)
            except BaseException as error:  # noqa: ASYNC103, BLE001  # handed on to the call
                step, value = coroutine.throw, error
            self.passed += 1
            if self.passed == self._at:
                yield from self._stop().__await__()

    async def _stop(self) -> None:
        self.stopped.set()
        with trio.CancelScope(shield=True):  # a cancellation takes effect when it goes on
            await self.go.wait()


class Races:
    """A store in which verbs meet. It is empty before and after.

    Args:
        store: The store.
        other: Another connection to it, if it is durable.
        scene: Where they meet.
    """

    def __init__(self, store: Store, other: Store, scene: Scene) -> None:
        self._store, self._other, self._scene = store, other, scene
        self._known: dict[tuple[str, ...], tuple[Seen, int]] = {}

    async def check(self, meeting: Meeting, *, begin: bool) -> None:
        """Let two verbs meet at each checkpoint of the first one.

        Args:
            meeting: Which they are.
            begin: Whether they also begin at once.

        Raises:
            AssertionError: What came is not what comes of the two in either order.
        """
        steps = MOST if meeting.waits else (await self._in_order(meeting.calls()))[1]
        if begin:
            await self._meet(meeting, self._store, 0)
        near = [self._store] if meeting.waits and self._other is not self._store else []
        for line in (*near, self._other):
            for at in range(1, min(steps, MOST) + 1):
                reached, answered = await self._meet(meeting, line, at, cancel=True)
                if reached and not answered:  # what is not cut short takes the same course without that
                    reached, _ = await self._meet(meeting, line, at)
                if not reached:
                    break

    async def _meet(
        self, meeting: Meeting, line: Store, at: int, *, cancel: bool = False
    ) -> tuple[bool, bool]:
        """Let them meet, and return whether the first verb got that far, and whether it gave an answer."""
        (first, _), (second, _) = meeting.calls()
        try:
            seen, reached = await self._at_once(meeting, line, at, cancel=cancel)
            alone = [meeting.calls()[1:]] if cancel else []
            await self._compare(seen, [*meeting.orders(), *alone])
        except Exception as error:
            how = f"{'cancelled' if cancel else 'held up'} at checkpoint {at}" if at else "begun"
            what = f"{first} was {how} and {second} happened meanwhile; {first_error(error)}"
            raise AssertionError(what) from error
        return reached, first in seen

    async def _in_order(self, calls: Order) -> tuple[Seen, int]:
        """Return what is seen after some verbs, and how many checkpoints the first one has."""
        names = tuple(name for name, _ in calls)
        if names not in self._known:
            await self._scene.prepare(self._store)
            seen: Seen = {}
            passed = list[int]()
            for name, call in calls:
                counted = _HeldUp(call(self._store), 0)
                seen[name] = await _answer(counted.run())
                passed.append(counted.passed)
            self._known[names] = await self._look(seen), passed[0]
        return self._known[names]

    async def _compare(self, seen: Seen, orders: Sequence[Order]) -> None:
        """Check that what was seen is what comes of one of the orders."""
        lines = list[str]()
        for calls in orders:
            wanted, _ = await self._in_order(calls)
            silent = {name for name, _ in calls} - seen.keys()  # it was cancelled, and gave nothing
            labels = [label for label in {**seen, **wanted} if label not in silent]
            differ = [label for label in labels if seen.get(label) != wanted.get(label)]
            if not differ:
                return
            came = [f"{label} is {_short(seen, label)}, not {_short(wanted, label)}" for label in differ[:3]]
            order = ", then ".join(name for name, _ in calls) + " alone" * (len(calls) == 1)
            lines.append(f"\n      {order}: {'; '.join(came)}")
        raise AssertionError(f"what came of it comes of no order of the two:{''.join(lines)}")

    async def _at_once(self, meeting: Meeting, line: Store, at: int, *, cancel: bool) -> tuple[Seen, bool]:
        """Hold up the first verb, let the second one happen, and go on.

        Args:
            meeting: Which they are.
            line: Through which connection the second one happens.
            at: At which checkpoint; at 0 both begin at once.
            cancel: Whether the first one is cancelled where it is held up.

        Returns:
            What is seen then, and whether the first one got that far.
        """
        await self._scene.prepare(self._store)
        seen: Seen = {}
        (first, call), (second, other_call) = meeting.calls()
        held, scope, done = _HeldUp(call(self._store), at), trio.CancelScope(), trio.Event()

        async def do_first() -> None:
            with scope:
                seen[first] = await _answer(held.run())

        async def do_second() -> None:
            seen[second] = await _answer(other_call(line))
            done.set()

        with trio.move_on_after(kit.PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(do_first)
                if at:
                    with trio.move_on_after(kit.BRIEF if meeting.waits else kit.PATIENCE):
                        await held.stopped.wait()
                reached = held.stopped.is_set() and not held.over
                if cancel:
                    scope.cancel(reason="it is cancelled at this checkpoint")
                nursery.start_soon(do_second)
                with trio.move_on_after(kit.BRIEF):  # it may have to wait for the first one
                    await done.wait()
                held.go.set()
            return await self._look(seen), reached
        raise AssertionError(f"{first if done.is_set() else second} still waits after {kit.PATIENCE:g} s")

    async def _look(self, seen: Seen) -> Seen:
        """Add what can be seen of the store, and what follows from it, and empty it."""
        if self._scene.passes or any("for a moment" in name for name in seen):
            await let_pass()
        await self._see(seen, "")
        await self._store.sweep()
        await self._see(seen, " after a sweep")
        claims = await self._store.claim(kit.ALL, kit.HOLDER)
        seen["what is claimed"] = sorted(claim.submission.id for claim in claims)
        jobs = [*await self._store.find(Where(), kit.ALL)]
        held = {job.id: job.attempt for job in jobs}
        seen["what a heartbeat gives"] = await _answer(self._store.heartbeat(held, kit.LONG))
        try:
            for job in jobs:
                if job.state is State.RETRYING:  # it waits for an input
                    await self._store.request_cancel(job.id, None)
                elif not job.state.over and job.parent is None:
                    await self._store.finish(job.id, job.attempt, kit.failed())
            for job in jobs:
                await self._store.remove(job.id)
        except TrioJobsError as error:
            there = ", ".join(f"{job.id}, {job.state}" for job in jobs)
            raise AssertionError(f"afterwards there are {there}; to end and remove them: {error}") from error
        return seen

    async def _see(self, seen: Seen, when: str) -> None:
        jobs = [*await self._store.find(Where(), kit.ALL)]

        async def see(job_id: str) -> None:
            fields: Any = await _answer(self._store.get(job_id))
            seen.update({f"{name} of {job_id}{when}": value for name, value in fields.items()})

        async def see_log(job_id: str) -> None:
            log: Any = await _answer(self._store.read(job_id, 0, kit.ALL))
            events = [tuple(event[name] for name in ("attempt", "kind", "data")) for event in log]
            seen.update({f"event {place} of {job_id}{when}": event for place, event in enumerate(events, 1)})

        async def see_count(where: Where) -> None:
            scan = Counter(job.state for job in jobs if where.owner in (None, job.owner))
            kit.expect(
                f"count of {where}{when}, beside find", dict(await self._store.count(where)), dict(scan)
            )

        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(see, job.id)
                nursery.start_soon(see_log, job.id)
            for where in (Where(), Where(handler="work"), Where(owner="me")):
                nursery.start_soon(see_count, where)


def _short(seen: Seen, label: str) -> str:
    text = repr(seen[label]) if label in seen else "nothing"
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"


def first_error(error: Exception) -> Exception:
    """Return what went wrong first; what failed beside it followed from that."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error


async def _answer(call: Awaitable[object]) -> object:
    return (await observed(call, None))[0]


async def race(open_store: kit.Opener, scene: Scene, *, thorough: bool = False) -> None:
    """Let verbs meet in a scene; see `meetings`."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store())
        other = await stack.enter_async_context(open_store()) if store.durable else store
        races = Races(store, other, scene)
        begun = set[frozenset[str]]()
        for meeting in meetings(scene, thorough=thorough):
            both = frozenset({meeting.first, meeting.second})
            await races.check(meeting, begin=both not in begun)
            begun.add(both)
