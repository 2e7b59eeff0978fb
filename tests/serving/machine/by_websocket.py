"""Peers that use WebSockets."""

from __future__ import annotations

import json
import math
from typing import Any

import trio
from wsproto import ConnectionType, WSConnection, events

from tests.inside import store_of
from tests.serving.machine.books import EVERYBODY, HOST, Asked, Work, mark
from tests.serving.machine.hosting import PORT
from tests.serving.machine.model import Model
from tests.serving.machine.moves import (
    FAULTS,
    MESSAGE,
    SMALL,
    STRANGERS,
)
from tests.serving.machine.network import taken
from tests.serving.machine.peers import Peer
from tests.serving.raw import BINARY, TEXT, frame
from trio_jobs import State


class ByWebSocket(Model):
    """The actions of peers over WebSockets."""

    def connect(self, who: str, address: str, *, small: bool) -> Peer:
        """Connect."""
        stream, accepted = self.network.pair(PORT, address, SMALL if small else None)
        peer = Peer(stream, accepted, who, address)
        peer.found = self.told
        self.peers.append(peer)
        self.nursery.start_soon(peer.run)
        return peer

    def upgrade(self, peer: Peer, want: frozenset[str] | None = None) -> Asked:
        """Send a handshake."""
        if want is None:
            want = {"nobody": frozenset({"unauthenticated"}), "broken": frozenset({"internal"})}.get(
                peer.who, frozenset({"ok"})
            )
            full = self.full(peer)
            want = full if "ok" not in full else (full - {"ok"}) | want
        web = WSConnection(ConnectionType.CLIENT)
        bearer = [(b"authorization", f"Bearer {peer.who}".encode())]
        data = web.send(
            events.Request(host=HOST, target="/v1/ws", subprotocols=["trio-jobs.v1"], extra_headers=bearer)
        )
        asked = Asked("upgrade", want)
        peer.shake(asked, web, data)
        return asked

    async def come_by_web(self, who: str, address: str, small: bool) -> None:
        """A peer opens a WebSocket."""
        if self.sockets(address) < 2 * self.limits.per_client + 8:
            self.upgrade(self.connect(who, address, small=small))
            await self.settle()

    async def come_at_once(self, who: str, address: str, count: int, strange: int) -> None:
        """Several peers open WebSockets at once, some of them without a valid token."""
        limits = self.limits
        if self.sockets(address) + count + strange >= 2 * limits.per_client + 8:
            return
        (own, own_most), (every, every_most) = self.seats(address), self.seats()
        most = min(limits.per_client - own, limits.connections - every)
        room = min(
            2 * limits.per_client - self.sockets(address),
            2 * limits.connections - self.sockets(),
            limits.per_client - own_most - strange,
            limits.connections - every_most - strange,
        )
        either = frozenset({"ok", "too_many"})
        for at in range(strange):
            refused = frozenset({"too_many", "unauthenticated", "internal"})
            self.upgrade(self.connect(STRANGERS[at % 2], address, small=False), refused)
        asked = [self.upgrade(self.connect(who, address, small=False), either) for _ in range(count)]
        await self.settle()
        let_in = sum(one.outcome == "ok" for one in asked)
        assert min(count, room) <= let_in <= most, (
            f"{let_in} of {count} were let in, and not {room} to {most}"
        )

    # ------------------------------------------------------------ asking

    def new_work(self, who: str) -> Work:
        """Return a job that is about to be submitted."""
        number = len(self.works_by_number)
        work = self.works_by_number[number] = Work(number, who)
        self.inboxes[number] = trio.open_memory_channel[Any](math.inf)
        self.works.append(work)
        return work

    def body_of(self, work: Work, options: dict[str, Any] | None) -> dict[str, Any]:
        """Return the request that submits a job, with some more options."""
        tags = {"n": str(work.number), "of": mark(work.owner)}
        options = {"tags": tags, "key": f"key{work.number % 2}-{work.number}", **(options or {})}
        work.exclusive = options.get("exclusive")
        return {"handler": "act", "args": [work.number], "options": options}

    def ask_web(
        self, peer: Peer, op: str, at: int, want: frozenset[str] | None = None, **fields: Any
    ) -> Asked:
        """Send a request over a WebSocket."""
        work = self.pick(self.known(), at)
        message: dict[str, Any] = {"op": op, "id": peer.number(), **fields}
        if op == "submit":
            work = self.new_work(peer.who)
            work.slow = 40.0 if at % 4 == 0 else 0.0
            message |= self.body_of(work, fields.get("options"))
        elif op in {"list", "find", "handlers", "statistics", "ping"}:
            work = None
        else:
            message["job"] = work.id if work else "0" * 32
        if op == "value":
            assert "job" in message
            seq = self.truth[work.number].last_seq if work and work.number in self.truth else 0
            message |= {"field": ("result", "saved", "metadata")[at % 3], "seq": seq} | fields
        if op == "send":
            value = work.new_input(peer) if work else "nobody's"
            message |= {"values": [value], "input_id": value}
        if op == "list" and at % 2:
            message["handler"] = "act"
        expected = self.expected(peer.who, op, work)
        if work is None and "job" in message:
            expected = frozenset({"unknown_job"})
        asked = Asked(op, want or expected, message["id"], work)
        if want is not None:
            asked.want = want | expected
        if op in {"follow", "wait"}:
            asked.want |= {"unfollowed"}
        if op == "follow":
            asked.sent = asked.acked = message.get("after", 0)
            asked.window, asked.policy = message.get("window"), message.get("policy", "gap")
        if op == "value" and work and "ok" in asked.want:
            asked.want |= {"changed"}  # the job may have gone on
        if op == "cancel":
            asked.until = trio.current_time() + message.get("patience", 10.0) + 0.2
        peer.tell(asked, message)
        return asked

    async def ask(self, at: int, op: str, job: int) -> None:
        """A peer sends a request that is answered at once."""
        peer = self.pick(self.webs(), at)
        if peer is None:
            return
        is_full = len(self.calls_of(peer)) >= self.limits.calls
        room = await self.room_for(peer.who) if op == "submit" else frozenset({"ok"})
        asked = self.ask_web(peer, op, job)
        if is_full and not (peer.stalled or op == "ping"):
            asked.want = frozenset({"too_many"})
        elif "too_many" in room:
            asked.want = room
        if peer.stalled:
            asked.want |= {"too_many"}
        await self.settle()
        if op == "list" and asked.outcome == "ok":
            found = {one["id"] for one in asked.fields["jobs"]}
            assert found == {work.id for work in self.works_seen(peer.who)}

    async def look_through(self, at: int, where: dict[str, Any], of: str, limit: int, newest: bool) -> None:
        """A peer lists the jobs that match, page by page: they are those that it may see."""
        peer = self.pick([one for one in self.webs() if not (one.stalled or self.calls_of(one))], at)
        if peer is None:
            return
        if of:
            where = where | {"tags": {"of": mark(of)}}
        before = {work.number: self.truth[work.number].state for work in self.listed(peer.who)}
        found: list[str] = []
        more: dict[str, Any] = {}
        while True:
            asked = self.ask_web(peer, "list", 0, None, **where, limit=limit, newest=newest, **more)
            await self.settle()
            if asked.outcome != "ok":
                return
            page = asked.fields["jobs"]
            assert len(page) <= limit, f"{len(page)} jobs on a page of {limit}"
            found += [one["id"] for one in page]
            if asked.fields["next"] is None:
                break
            more = {"cursor": asked.fields["next"]}
        seen = self.listed(peer.who)
        if before == {work.number: self.truth[work.number].state for work in seen}:
            states = where.get("state", list(State))
            wanted = {
                work.id
                for work in seen
                if self.truth[work.number].state in ([states] if isinstance(states, str) else states)
                and of in ("", work.owner)
                and where.get("handler", "act") == "act"
            }
            assert set(found) == wanted, f"{len(found)} jobs are listed, and not {len(wanted)}"
            assert len(set(found)) == len(found), "a job is listed twice"
        times = {work.id: self.truth[work.number].created_at for work in seen}
        order = [times[one] for one in found]
        assert order == sorted(order, reverse=newest), "they are not in order"

    async def ask_much(self, at: int, ops: list[str], job: int) -> None:
        """A peer sends many requests at once; those up to the limit are done, whether it reads or not."""
        peer = self.pick(self.webs(), at)
        if peer is None:
            return
        free = self.limits.calls - len(self.calls_of(peer))
        asked = [self.ask_web(peer, op, job + turn, frozenset({"too_many"})) for turn, op in enumerate(ops)]
        await self.settle()
        calls = [one for one in asked if one.op != "ping"]
        refused = [one for one in calls if one.outcome == "too_many" and one.op != "submit"]
        assert peer.stalled or len(refused) <= max(0, len(calls) - free)

    async def say_much(self, at: int, job: int, count: int) -> None:
        """A peer sends a job several inputs at once; it gets them in their order, each once."""
        peer, work = self.pick(self.webs(), at), self.pick(self.known(), job)
        if peer is None or work is None:
            return
        for _ in range(count):
            self.ask_web(peer, "send", job, frozenset({"too_many"}))
        await self.settle()
        events = await store_of(self.jobs).inputs(work.id, 0, 1000)
        work.check_order({event.seq: (str(event.kind), event.data) for event in events})

    async def ask_and_take_nothing(self, address: str) -> None:
        """Of a peer that reads no answers, only as many requests are done as may be open."""
        peer = self.connect(EVERYBODY, address, small=True)
        peer.excused = True
        self.upgrade(peer, frozenset({"ok", "too_many"}))
        await trio.sleep(0.1)
        if peer.is_web:
            peer.stall(trio.current_time())
            works: list[Work | None] = []
            for _ in range(40):  # one by one, or the refusal of one that is too many is what waits
                works.append(self.ask_web(peer, "submit", 1).work)
                await trio.sleep(0.001)
            done = [await self.jobs.find(tags={"n": str(work.number)}) for work in works if work]
            sent = taken(peer.stream).count(b',"job":{')
            most = sent + self.limits.calls
            assert sum(len(found) for found in done) <= most, f"more than {most} calls are open"
        peer.hang_up()
        await self.settle()

    async def watch_together(self, job: int, window: int | None, large: int) -> None:
        """Many peers follow a job; it goes on; the first of them stops; it goes on again."""
        work = self.pick(self.running(), job)
        if work is None:
            return
        for at in range(len(self.webs())):
            await self.follow(at, self.known().index(work), "follow", 0, window if at else None, "gap")
        for _ in range(2):
            self.inboxes[work.number][0].send_nowait(("tokens", 2, large))
            await self.settle()
            await self.unfollow(0, twice=False)

    async def look_at_a_large_value(self, job: int) -> None:
        """A job saves a value of several pieces, and every peer requests the first; only some may get it."""
        work = self.pick(self.running(), job)
        if work is None:
            return
        self.inboxes[work.number][0].send_nowait(("save", 1, 300_000))
        await self.settle()
        for peer in self.webs():
            self.ask_web(peer, "value", self.known().index(work), frozenset({"too_many"}), field="saved")
            await self.settle()

    async def ask_for_what_takes_time(self, at: int, job: int, more: int) -> None:
        """A peer sends as many slow requests as may be open at once, and some more, which are refused."""
        peer, work = self.pick(self.webs(), at), self.pick(self.running(), job)
        if peer is None or work is None:
            return
        is_lost = trio.current_time() < self.claimed_by
        if peer.stalled or is_lost or not work.seen_by(peer.who):
            return
        work.slow = 40.0
        free = self.limits.calls - len(self.calls_of(peer))
        asked = [
            self.ask_web(peer, "cancel", self.known().index(work), patience=20) for _ in range(free + more)
        ]
        for one in asked[free:]:
            one.want = frozenset({"too_many"})
        await self.settle()
        over = self.truth[work.number].state.over
        assert over or all((one in peer.asked) == (at < free) for at, one in enumerate(asked))

    async def follow(self, at: int, job: int, op: str, after: int, window: int | None, policy: str) -> None:
        """A peer follows a job, or waits for its end."""
        peer, work = self.pick(self.webs(), at), self.pick(self.known(), job)
        if peer is None or work is None:
            return
        fields: dict[str, Any] = {"after": after, "policy": policy} if op == "follow" else {}
        if window is not None and op == "follow":
            fields["window"] = window
        held = sum(one.waits for one in peer.asked)
        asked = self.ask_web(peer, op, job, **fields)
        if held >= self.limits.follows and not peer.stalled:  # of one that reads nothing, some may have ended
            asked.want = frozenset({"too_many"})
        elif op == "follow" and work.seen_by(peer.who) and after > self.truth[work.number].last_seq:
            asked.want = frozenset({"stream_gap"})
        if peer.stalled:
            asked.want |= {"too_many"}
        await self.settle()

    def following(self) -> list[tuple[Peer, Asked]]:
        """Return the follows over WebSockets that read."""
        return [(peer, one) for peer in self.webs() for one in peer.asked if one.waits and not peer.stalled]

    async def ack(self, at: int, beyond: int) -> None:
        """A peer sends an ack for what it has read, or for more."""
        follows = [(peer, asked) for peer, asked in self.following() if asked.op == "follow"]
        windowed = [(peer, asked) for peer, asked in follows if asked.window is not None]
        found = self.pick(windowed or follows, at)
        if found is None:
            return
        peer, asked = found
        cursor = asked.sent + (beyond if asked.window else 0)
        if beyond and asked.window is not None:
            peer.extra.append((asked.number, "an ack of what was not sent"))
        else:
            asked.acked = cursor
        peer.tell(None, json.dumps({"op": "ack", "id": asked.number, "cursor": cursor}).encode())
        await self.settle()
        assert not peer.extra

    async def unfollow(self, at: int, twice: bool) -> None:
        """A peer ends a follow or a wait, and may use its id again after the answer."""
        found = self.pick(self.following(), at)
        if found is None:
            return
        peer, asked = found
        for _ in range(1 + twice):
            peer.tell(None, json.dumps({"op": "unfollow", "id": asked.number}).encode())
        await self.settle()
        over = asked.work is not None and self.truth[asked.work.number].state.over
        assert asked.outcome == "unfollowed" or (over and asked.outcome == "ok"), asked.outcome

    async def use_an_id_twice(self, at: int) -> None:
        """A request with an id that is in use is refused, and the first one is answered as ever."""
        peer = self.pick([one for one in self.webs() if one.asked and not one.stalled], at)
        if peer is None:
            return
        number = peer.asked[at % len(peer.asked)].number
        peer.extra.append((number, "is in use"))
        peer.tell(None, json.dumps({"op": "list", "id": number}).encode())
        await self.settle()
        assert not peer.extra

    async def talk_nonsense(self, at: int, count: int) -> None:
        """So many bad messages in a row are answered, and then the connection is closed."""
        peer = self.pick([one for one in self.webs() if not one.stalled], at)
        if peer is None:
            return
        for _ in range(count):
            peer.faults += 1
            if peer.faults >= FAULTS:
                peer.closes.add(1008)
                peer.excused = True
                peer.say(frame(TEXT, b"{}"))
                break
            peer.extra.append((None, ""))
            peer.say(frame(TEXT, b"{}"))
        await self.settle()
        assert not peer.extra
        assert (peer.code == 1008) == (peer.faults >= FAULTS)

    async def send_the_most(self, at: int, over: Any) -> None:
        """A message of the largest size is answered; one byte more closes the connection."""
        peer = self.pick([one for one in self.webs() if not one.stalled], at)
        if peer is None:
            return
        if over == "binary":
            peer.say(frame(BINARY, b"{}"))
        else:
            text = json.dumps({"op": "ping", "id": peer.number()}).encode()
            asked = Asked("ping", frozenset({"ok"}), peer.number())
            peer.tell(None if over else asked, text + b" " * (MESSAGE - len(text) + over))
        code = {0: None, 1: 1009, "binary": 1003}[over]
        if code is not None:
            peer.closes.add(code)
            peer.excused = True
        await self.settle()
        assert peer.code == code
