"""A model of a server's peers and jobs, and its invariants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import trio
from trio.testing import wait_all_tasks_blocked

from tests.serving.machine.books import EVERYBODY, OWNERS, Asked, Work
from tests.serving.machine.hosting import Hosting
from tests.serving.machine.moves import (
    BOX,
    CAPACITY,
    DROPPED,
)
from tests.serving.machine.peers import Peer
from trio_jobs import (
    State,
)

T = TypeVar("T")


class Model(Hosting):
    """What each peer may see and occupy, with checks."""

    async def queued(self, who: str) -> int:
        """Return how many jobs of an owner wait."""
        return len(await self.jobs.find(state=State.QUEUED, owner=who))

    async def room_for(self, who: str) -> frozenset[str]:
        """Return the possible answers to a submit: too many jobs wait, or not, or it may start at once."""
        if who not in OWNERS or await self.queued(who) < self.limits.queued:
            return frozenset({"ok"})
        running = len(await self.jobs.find(state=State.RUNNING))
        return frozenset({"too_many"} if running >= CAPACITY else {"ok", "too_many"})

    def known(self) -> list[Work]:
        """Return the jobs whose ids a peer has received."""
        return [work for work in self.works if work.id]

    def running(self) -> list[Work]:
        """Return the jobs that run."""
        truth = [(work, self.truth.get(work.number)) for work in self.known()]
        return [work for work, job in truth if job is not None and job.state is State.RUNNING]

    def works_seen(self, who: str) -> list[Work]:
        """Return the jobs that a caller may see."""
        return [work for work in self.works if work.seen_by(who)]

    def listed(self, who: str) -> list[Work]:
        """Return the jobs that a list shows a caller."""
        return [work for work in self.works_seen(who) if work.number in self.truth]

    def seats(self, address: str | None = None) -> tuple[int, int]:
        """Return how many requests are open, of an address or of all: at least, and at most."""
        least = most = 0
        for peer in self.peers:
            if peer.gone or address not in (None, peer.address) or not (peer.is_web or peer.asked):
                continue
            most += 1
            least += not (peer.excused or peer.stalled)
        return least, most

    def sockets(self, address: str | None = None) -> int:
        """Return how many connections are open, of an address or of all, at most."""
        return sum(not peer.gone for peer in self.peers if address in (None, peer.address))

    def full(self, peer: Peer) -> frozenset[str]:
        """Return the possible answers to a request that counts: that the limit is reached, or not."""
        if peer.is_web or peer.asked:
            return frozenset({"ok"})
        (own, own_most), (every, every_most) = self.seats(peer.address), self.seats()
        limits, found = self.limits, set[str]()
        crowd = self.sockets(peer.address) > 2 * limits.per_client or self.sockets() > 2 * limits.connections
        if own >= limits.per_client or every >= limits.connections:
            return frozenset({"too_many"})
        if own_most >= limits.per_client or every_most >= limits.connections or crowd:
            found.add("too_many")
        return frozenset({"ok", *found})

    def expected(self, who: str, op: str, work: Work | None) -> frozenset[str]:
        """Return the possible answers to a request, apart from limits."""
        if op == "statistics":
            return frozenset({"ok"} if who == EVERYBODY else {"forbidden"})
        if work is not None and not work.seen_by(who):
            return frozenset({"unknown_job"})
        if op in {"send", "end_inputs"}:  # the job, or its inputs, may have ended by then
            full = {"inbox_full"} if op == "send" and self.short else set[str]()
            return frozenset({"ok", "illegal_transition", *full})
        return frozenset({"ok"})

    def pick(self, found: Sequence[T], at: int) -> T | None:
        """Return one of some."""
        return found[at % len(found)] if found else None

    def webs(self) -> list[Peer]:
        """Return the WebSockets that are open and read."""
        return [peer for peer in self.peers if peer.is_web and not (peer.gone or peer.excused)]

    def calls_of(self, peer: Peer) -> list[Asked]:
        """Return the open calls of a peer."""
        return [one for one in peer.asked if not one.waits and one.op != "upgrade"]

    # ------------------------------------------------------------ what must hold

    def told(self, work: Work | None, fields: Any) -> None:
        """Record what a peer received about a job."""
        if work is None or not isinstance(fields, dict):
            return
        job = fields.get("job") or (fields if "last_seq" in fields else None)
        if job is not None:
            assert job["tags"]["n"] == str(work.number), "it is another job"
            assert work.id in ("", job["id"]), "it has another id"
            work.id = job["id"]
        elif "job_id" in fields:
            assert work.id in ("", fields["job_id"])
            work.id = fields["job_id"]

    async def settle(self) -> None:
        """Let everything happen that can, and check the invariants."""
        self.sound = False
        await trio.sleep(0.5)
        await wait_all_tasks_blocked()  # what happens at this very moment is over, too
        assert not self.mistakes.found, self.mistakes.found[0]
        await self._learn()
        now = trio.current_time()
        for peer in self.peers:
            for asked in peer.done:
                if asked.work is not None and asked.work.number in self.truth:
                    asked.check(self.truth[asked.work.number])
            peer.done.clear()
            assert not peer.left or peer.accepted.fileno() < 0, f"{peer.who} has left, and is served still"
            if peer.stalled and now > peer.stalled_at + DROPPED:
                assert not peer.is_web or peer.accepted.fileno() < 0, "it is silent, and not dropped"
                peer.hang_up()  # nobody is there any more; the books forget it
        self.peers = [peer for peer in self.peers if not peer.gone]
        open_ = sum(one.waits or one.op == "cancel" for peer in self.peers for one in peer.asked)
        readers = (await self.jobs.statistics()).readers
        assert readers <= 2 * open_, f"{readers} readers for {open_} that may read"  # feeds count, too
        unread = any(peer.stalled for peer in self.peers) if self.tight else False
        for peer in self.peers:
            if not (peer.stalled or peer.excused):
                for asked in peer.asked:
                    # What somebody does not take may fill the account: others wait for room then.
                    assert unread or self._may_wait(peer, asked, now), f"{peer.who} still waits for {asked}"
        for owner in OWNERS:
            assert await self.queued(owner) <= self.limits.queued, "more jobs wait than may"
        self._check_jobs()
        self.sound = True

    async def _learn(self) -> None:
        """Read the jobs in the registry, with which the server's answers are compared."""
        pending = {one.work for peer in self.peers if not peer.gone for one in peer.asked}
        for work in list(self.works):
            found = await self.jobs.find(tags={"n": str(work.number)})
            assert len(found) <= 1, "it was submitted twice"
            if found:
                assert found[0].owner == (None if work.owner == EVERYBODY else work.owner)
                assert work.id in ("", found[0].id)
                work.id = found[0].id
                job = self.truth[work.number] = await (await self.jobs.get(work.id)).snapshot()
                if self.short:  # handlers receive nothing, so that a box which was full stays so
                    box = f"the box of job {work.number} has {job.unconsumed} inputs"
                    assert job.unconsumed <= BOX, box
                    assert job.unconsumed == BOX or not work.was_full, f"{box}, and refused one more"
            elif work not in pending:
                self.works.remove(work)

    def _may_wait(self, peer: Peer, asked: Asked, now: float) -> bool:
        """Return whether a request may still be unanswered."""
        if not peer.is_web and asked is not peer.asked[0]:
            return True  # one at a time
        job = self.truth.get(asked.work.number) if asked.work else None
        if job is None or "ok" not in asked.want:
            return False
        if asked.follows:
            most = job.last_seq if asked.window is None else min(job.last_seq, asked.acked + asked.window)
            assert asked.sent >= most, f"{asked.op} stands at {asked.sent} of {most}"
            return not job.state.over or most < job.last_seq
        return not job.state.over and (
            asked.op == "wait" or (asked.op == "cancel" and now <= asked.until + 0.5)
        )

    def _check_jobs(self) -> None:
        """Check that a job goes on unless a reader may hold it."""
        for work in self.works:
            job = self.truth.get(work.number)
            if job is None or job.state is not State.RUNNING or job.cancel_requested_at is not None:
                continue
            held = any(
                one.policy == "block" and one.work is work for peer in self.peers for one in peer.asked
            )
            held = held or trio.current_time() < self.claimed_by
            left = self.inboxes[work.number][1].statistics().current_buffer_used
            assert held or not (left or work.number in self.busy), "a job is held up by nobody"
