"""A server, its jobs and many peers, with a model of what each may see and occupy."""

from __future__ import annotations

import logging
from typing import Any

import trio
from hypothesis import strategies as st

from tests.serving.machine.books import EVERYBODY
from tests.serving.machine.failing import Failing
from tests.serving.machine.moves import ADDRESSES, BOX, HEADER, IDLE, MESSAGE, PING, happenings, turns, whos
from tests.serving.machine.world import Away
from trio_jobs import Retention
from trio_jobs.serving import Limits
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import initialize, rule


class ServerMachine(Failing):
    """Serving: what peers are answered, what they may see, and what is left of them.

    No caller sees another owner's job. Each request has one answer of the right kind, a refused one its code.
    Events come in order, without holes, once, and within the window. No more is open than the limits say.
    Once all is settled nothing waits that need not; and of peers that have gone nothing is left.
    """

    @initialize(
        door=st.sampled_from(["http", "http", "websocket"]),
        far=st.booleans(),
        bounds=st.tuples(*[st.integers(1, 3)] * 5),
        tight=st.booleans(),
        short=st.booleans(),
        kept=st.sampled_from([0, 2**26]),
        first=st.lists(whos, min_size=2, max_size=2),
    )
    async def open_server(
        self,
        door: str,
        far: bool,
        bounds: tuple[int, ...],
        tight: bool,
        short: bool,
        kept: int,
        first: list[str],
    ) -> None:
        """Open a registry, and serve it to two peers, each of which submits a job."""
        trio.socket.set_custom_socket_factory(self.network)
        calls, follows, queued, per_client, more = bounds
        self.door = door
        self.tight = tight
        self.limits = Limits(
            message=MESSAGE,
            header=HEADER,
            body=HEADER,
            idle=IDLE,
            ping=PING,
            calls=calls,
            follows=follows,
            queued=queued,
            per_client=per_client,
            connections=per_client + more,
            unsent=2**20 if tight else 2**26,
            all_unsent=2**20 if tight else 2**28,
            kept=kept,
        )
        retention = Retention(events=8, inputs=BOX) if short else None
        self.short = short
        if far:
            self.far = Away(MemoryStore(retention=retention))
        logging.getLogger("trio_jobs").addHandler(self.mistakes)
        await self.nursery.start(self._keep_jobs, None if far else retention)
        await self._start()
        await trio.sleep(0.1)
        self.alone = self._tasks()
        for at, who in enumerate(first):
            peer = self.connect(who, ADDRESSES[at % 2], small=True)
            self.upgrade(peer)
            await trio.sleep(0.1)
            self.ask_web(peer, "submit", 1)
        await self.settle()

    @rule(turns=turns, who=whos)
    async def talk(self, turns: list[tuple[str, dict[str, Any]]], who: str) -> None:
        """Peers send requests, follow and ack, and jobs go on, in turn; at least one peer is active."""
        if not self.webs():
            await self.come_by_web(who, ADDRESSES[0], small=False)
        for name, given in turns:
            await getattr(self, name)(**given)

    @rule(what=happenings)
    async def happen(self, what: tuple[str, dict[str, Any]]) -> None:
        """Peers connect and fail, time passes, the store is unavailable, or the server stops."""
        name, given = what
        await getattr(self, name)(**given)

    async def finish(self) -> None:
        """Let all peers leave: nothing of them stays, and new ones find the server as it was."""
        try:
            if self.sound and self.alone:  # else the failure is told already
                await self._finish()
        finally:
            logging.getLogger("trio_jobs").removeHandler(self.mistakes)
            for peer in self.peers:
                peer.hang_up()

    async def _finish(self) -> None:
        for peer in self.peers:
            peer.excused = True
            if peer.stalled:
                peer.go_on()
        await trio.sleep(0.1)
        for peer in self.peers:
            if not peer.gone:
                peer.hang_up()
        await trio.sleep(5)
        self.peers.clear()
        left = self._tasks()
        assert left == self.alone, f"of somebody is left {left}, beside {self.alone}"
        assert (await self.jobs.statistics()).readers == 0
        for address in ADDRESSES:
            newcomers = [self.connect(EVERYBODY, address, small=False) for _ in range(self.limits.per_client)]
            for peer in newcomers:
                self.upgrade(peer, frozenset({"ok"}))
            await trio.sleep(0.1)
            for peer in newcomers:
                for _ in range(self.limits.calls):
                    self.ask_web(peer, "get" if self.works else "list", 0)
            await self.settle()
            assert all(not peer.asked for peer in newcomers)
            for peer in newcomers:
                peer.hang_up()
            await self.settle()
