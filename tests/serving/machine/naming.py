"""Jobs with exclusive names, whose fate the model decides by the same table as the stores."""

from __future__ import annotations

from typing import Any

import trio

from tests.serving.machine.books import OWNERS, Work
from tests.serving.machine.by_http import ByHttp
from tests.serving.machine.peers import Peer
from trio_jobs import State
from trio_jobs.stores.exclusion import MOVES, Move, holder_of


class Naming(ByHttp):
    """Peers that submit jobs with an exclusive name."""

    def line(self, who: str, name: str) -> list[Work]:
        """Return the jobs of a name that have not ended, the holder first."""
        open_ = [work for work in self.listed(who) if (work.owner, work.exclusive) == (who, name)]
        open_ = [work for work in open_ if not self.truth[work.number].state.over]
        return sorted(open_, key=lambda work: self.truth[work.number].behind is not None)

    async def submit_by_name(self, at: int, policies: list[Any], by_http: bool) -> None:
        """A peer submits jobs of one name, one after the other."""
        for on_busy in policies:
            await self._submit_by_name(at, "door", on_busy, by_http)

    async def _submit_by_name(self, at: int, name: str, on_busy: Any, by_http: bool) -> None:
        """A peer submits a job of a name; it, the holder and those that wait fare as the table says."""
        peer = self.pick(self._able(by_http), at)
        if peer is None or trio.current_time() < self.claimed_by:
            return
        await self._learn()
        line = self.line(peer.who, name)
        holder = self.truth[line[0].number] if line else None
        asked_to_end = holder is not None and holder.cancel_requested_at is not None
        state = holder_of(holder.state if holder else None, asked=asked_to_end)
        move = MOVES[on_busy if isinstance(on_busy, str) else "debounce"][state]
        gone = [work for work in line if self.truth[work.number].state is not State.RUNNING]
        gone = gone if move.replaces else []
        want = self._wanted(move, await self.room_for(peer.who) if not gone else frozenset({"ok"}))
        full = self.full(peer)
        options = {"exclusive": name, "on_busy": on_busy}
        if by_http:
            asked = self.ask_http(peer, "submit", at, options=options)
        else:
            asked = self.ask_web(peer, "submit", at, options=options)
        asked.want = (want if "ok" in full else frozenset()) | (full - {"ok"})
        new = asked.work
        if move.place == "attached":
            asked.work = line[0]
        await self.settle()
        assert asked.outcome is not None, "a submit waits"
        if asked.outcome == "busy":
            assert asked.fields["job_id"] == line[0].id, "somebody else holds the name"
        elif asked.outcome == "ok" and move.place in {"first", "behind"}:
            assert new is not None
            self._check_move(move, new, line, gone)

    def _able(self, by_http: bool) -> list[Peer]:
        """Return the peers that can submit a job, and are answered at once."""
        if self.tight and any(peer.stalled for peer in self.peers):
            return []
        if by_http:
            return [peer for peer in self.lines() if not peer.asked] if self.door == "http" else []
        return [
            peer for peer in self.webs() if not peer.stalled and len(self.calls_of(peer)) < self.limits.calls
        ]

    @staticmethod
    def _wanted(move: Move, room: frozenset[str]) -> frozenset[str]:
        if move.place in {"attached", "refused"}:
            return frozenset({"ok" if move.place == "attached" else "busy"})
        return room

    def _check_move(self, move: Move, new: Work, line: list[Work], gone: list[Work]) -> None:
        """Check what a submit did to a line of jobs."""
        for work in gone:
            job = self.truth[work.number]
            assert (job.state, job.replaced_by) == (State.CANCELLED, new.id), f"{work} was not replaced"
        for work in line:
            job = self.truth[work.number]
            assert work in gone or job.replaced_by is None, f"{work} was replaced"
        holder = self.truth[line[0].number] if line else None
        if move.cancels:
            assert holder is not None
            assert holder.cancel_requested_at is not None, "nobody asked the holder to end"
        behind = holder.id if holder is not None and not holder.state.over else None
        found = self.truth[new.number].behind
        assert found == behind, f"it stands behind {found}, and not behind {behind}"

    def check_names(self) -> None:
        """Check that of each name one job holds it, and no other one runs."""
        for who in (*OWNERS, None):
            lines: dict[str, list[Any]] = {}
            for work in self.works:
                job = self.truth.get(work.number)
                if job is not None and work.exclusive and job.owner == who and not job.state.over:
                    lines.setdefault(work.exclusive, []).append(job)
            for name, jobs in lines.items():
                assert sum(job.behind is None for job in jobs) == 1, f"{name} is held by {jobs}"
                assert not any(job.behind and job.state is State.RUNNING for job in jobs)

    async def settle(self) -> None:
        """See `Model.settle`."""
        await super().settle()
        self.check_names()
