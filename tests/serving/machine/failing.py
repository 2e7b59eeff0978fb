"""Peers that fail, and other events."""

from __future__ import annotations

import trio

from tests.serving.machine.moves import (
    GRACE,
    LAPSED,
    PING,
)
from tests.serving.machine.naming import Naming


class Failing(Naming):
    """Peers that fail, time that passes, a store that is unavailable, and a server that stops."""

    async def fail(self, at: int, how: str) -> None:
        """A peer stops reading, closes its half, or closes the connection, with or without unread bytes."""
        peer = self.pick([one for one in self.peers if not (one.gone or one.stalled)], at)
        if peer is None:
            return
        if how in {"stall", "reset"}:
            peer.stall(trio.current_time())
        elif how == "half":
            peer.half_close()
        if how == "reset" and self.running():
            for work in self.running():
                self.inboxes[work.number][0].send_nowait(("tokens", 1, 0))
            await trio.sleep(0.1)
        if how in {"leave", "reset"}:
            peer.hang_up()
        await self.settle()

    async def go_on(self, at: int) -> None:
        """A peer reads again."""
        peer = self.pick([one for one in self.peers if one.stalled], at)
        if peer is None:
            return
        if trio.current_time() > peer.stalled_at + PING:
            peer.excused = True
        peer.go_on()
        await self.settle()

    async def leave_in_the_handshake(self, who: str, address: str, count: int, steps: int) -> None:
        """Each of several peers sends a handshake, and does not wait for the answer."""
        for _ in range(count):
            if self.sockets(address) < 2 * self.limits.per_client:
                peer = self.connect(who, address, small=True)
                self.upgrade(peer, frozenset({"ok", "too_many"}))  # those before may hold their seats yet
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                peer.hang_up()
        await self.settle()

    async def die_at_any_byte(
        self, who: str, address: str, at: int, op: str, web: bool, cut: int, waits: float, read: bool
    ) -> None:
        """A peer closes within a request, at once or later, or behind it, with the answer unread."""
        if self.sockets(address) >= 2 * self.limits.per_client + 8:
            return
        peer = self.connect(who, address, small=True)
        peer.excused = True
        if web:
            self.upgrade(peer)
            await trio.sleep(0.1)
        if not read:
            peer.stall(trio.current_time())
        if peer.gone:
            return
        peer.holds_back = True
        if peer.is_web:
            self.ask_web(peer, "get" if op in {"stream", "upgrade"} else op, at)
        elif not peer.asked:
            if op in {"follow", "wait", "ping", "find", "upgrade"}:
                self.upgrade(peer)
            else:
                self.ask_http(peer, op, at)
        for asked in peer.asked:
            asked.want |= {"too_slow", "too_many"}
        peer.send_held(cut)
        await trio.sleep(waits)
        if not peer.gone:
            peer.hang_up()
        await self.settle()

    # ------------------------------------------------------------ jobs, time and the store

    async def work(self, at: int, what: str, size: int, large: int) -> None:
        """A job goes on."""
        work = self.pick(self.running(), at)
        if work is None:
            return
        self.inboxes[work.number][0].send_nowait((what, size, large))
        await self.settle()

    async def time_passes(self, seconds: float) -> None:
        """Some time passes."""
        await trio.sleep(seconds)
        await self.settle()

    async def the_store_is_away(self, at: int, does_it: bool, ops: list[str], job: int) -> None:
        """The store is unavailable for a moment, in which requests are sent."""
        if self.far is None:
            return
        for peer in self.peers:
            for asked in peer.asked:
                asked.want |= {"unavailable"}
        self.far.is_away, self.far.does_it = True, does_it
        if (web := self.pick(self.webs(), at)) is not None:
            for op in ops:
                self.ask_web(web, op, job, frozenset({"unavailable", "too_many", "unknown_job"}))
        for line in self.lines()[:1]:
            for op in ops:
                self.ask_http(line, op, job).want |= {"unavailable", "too_many"}
        await trio.sleep(1)
        self.far.is_away = False
        self.claimed_by = trio.current_time() + LAPSED  # a claim may be lost, and its lease has to lapse
        await trio.sleep(2)
        await self.settle()

    async def the_server_stops(self, seconds: float | None) -> None:
        """The server stops, while requests are open, and another one starts."""
        if seconds is None:
            return
        self.sound = False
        busy = any(
            peer.stalled or peer.excused or peer.is_web or peer.asked for peer in self.peers if not peer.gone
        )
        for peer in self.peers:
            for asked in peer.asked:
                asked.want |= {"closing"}
        reading = [peer for peer in self.webs() if not peer.stalled]
        streams = [
            (peer, asked)
            for peer in self.peers
            for asked in peer.asked
            if asked.op == "stream" and not (peer.gone or peer.excused or peer.stalled)
        ]
        idle = [peer for peer in self.lines() if not peer.asked]
        for peer in self.peers:
            peer.excused = True
        self.serving.cancel()
        await trio.sleep(0.1)
        assert all(peer.gone for peer in idle), "who asks nothing is connected still"
        await trio.sleep(seconds)
        assert busy or not seconds or self.stopped.is_set(), "it waits for nobody"
        with trio.fail_after(GRACE + 15):
            await self.stopped.wait()
        await trio.sleep(0.1)
        for peer in reading:
            assert peer.gone
            assert peer.code == 1001, f"it was told {peer.code}"
        for peer, asked in streams:
            assert asked not in peer.asked, "a stream was torn"
        assert all(peer.gone or peer.stalled for peer in self.peers), "somebody is still connected"
        for peer in self.peers:
            if not peer.gone:
                peer.hang_up()
        await self._start()
        await self.settle()
