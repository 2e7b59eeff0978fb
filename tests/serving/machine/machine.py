"""A server, its jobs and many peers, with a model that knows who may see and hold what."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import trio
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked
from wsproto import ConnectionType, WSConnection, events

from tests.serving.machine.moves import (
    ADDRESSES,
    CALLERS,
    CAPACITY,
    DROPPED,
    FAULTS,
    GRACE,
    HEADER,
    IDLE,
    LAPSED,
    MESSAGE,
    PING,
    SMALL,
    STRANGERS,
    TAKEN,
    happenings,
    turns,
    whos,
)
from tests.serving.machine.network import Network
from tests.serving.machine.peers import EVERYBODY, HOST, OWNERS, Asked, Peer, Work, mark
from tests.serving.raw import BINARY, frame, request
from tests.tasks import task_names
from trio_jobs import (
    Job,
    JobContext,
    Retention,
    State,
    StoreUnavailable,
    handler,
    open_registry,
)
from trio_jobs.serving import Caller, Limits, serve_http, serve_websocket
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection, TrioMachine, initialize, rule

T = TypeVar("T")

SERVE: Final[Mapping[str, Callable[..., Awaitable[None]]]] = {
    "http": serve_http,
    "websocket": serve_websocket,
}
PORT: Final = 8000


class Away(Connection):
    """A store that is away now and then: what is asked meanwhile is done, or is not, and nobody knows."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.is_away = False
        self.does_it = False

    async def call(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        """See `Connection.call`."""
        if not self.is_away:
            return await super().call(name, verb)
        if self.does_it:
            await super().call(name, verb)
        raise StoreUnavailable("it is away for a moment")

    async def wait(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        """See `Connection.wait`."""
        if self.is_away:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("it is away for a moment")
        return await super().wait(name, verb)


class Mistakes(logging.Handler):
    """Keeps what the server logs as a fault of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, unless the fault is that of `authenticate`."""
        text = logging.Formatter().format(record)
        if "authenticate failed" not in text:
            self.found.append(text)


class ServerMachine(TrioMachine):
    """Serving: what peers are answered, what they may see, and what is left of them.

    No caller sees another owner's job. Each request has one answer of the right kind, a refused one its code.
    Events come in order, without holes, once, and within the window. No more is open than the limits say.
    Once all is settled nothing waits that need not; and of peers that have gone nothing is left.
    """

    rule_time_limit = 10_000.0

    def __init__(self) -> None:
        super().__init__()
        self.network = Network()
        self.peers: list[Peer] = []
        self.works: list[Work] = []
        self.works_by_number: dict[int, Work] = {}
        self.inboxes: dict[int, tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]]] = {}
        self.busy: set[int] = set()
        self.truth: dict[int, Job] = {}
        self.mistakes = Mistakes()
        self.far: Away | None = None
        self.sound = True
        self.claimed_by = -math.inf
        self.alone: list[str] = []

    # ------------------------------------------------------------ the server

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
        """Open a registry, and serve it to two peers, who submit a job each."""
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
        if far:
            self.far = Away(MemoryStore(retention=Retention(events=8) if short else None))
        retention = Retention(events=8) if short else None
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

    async def _keep_jobs(self, retention: Retention | None, *, task_status: trio.TaskStatus[None]) -> None:
        store: Any = self.far or "memory://"
        async with open_registry(
            store, handlers=[self._handler()], capacity=CAPACITY, window=4, retention=retention
        ) as self.jobs:
            task_status.started()
            await trio.sleep_forever()

    async def _start(self) -> None:
        self.serving = trio.CancelScope()
        self.stopped = trio.Event()
        await self.nursery.start(self._serve)

    async def _serve(self, *, task_status: trio.TaskStatus[Any]) -> None:  # noqa: ASYNC128  # passed on
        self.task = trio.lowlevel.current_task()
        with self.serving:
            await SERVE[self.door](
                self.jobs,
                port=PORT,
                authenticate=self._authenticate,
                limits=self.limits,
                grace=GRACE,
                task_status=task_status,
            )
        self.stopped.set()

    async def _authenticate(self, headers: Mapping[str, str]) -> Caller | None:
        await trio.lowlevel.checkpoint()
        who = headers.get("authorization", "").removeprefix("Bearer ")
        if who == "broken":
            raise LookupError("who is this?")
        return Caller(None if who == EVERYBODY else who) if who in CALLERS else None

    def _tasks(self) -> list[str]:
        """Return the tasks of the server."""
        return task_names(self.task)

    def _handler(self) -> Callable[..., Awaitable[str]]:
        async def act(job: JobContext[str], number: int) -> str:
            work = self.works_by_number[number]
            mine, sent = mark(work.owner), 0
            self.busy.discard(number)
            try:
                async for what, count, size in self.inboxes[number][1]:
                    self.busy.add(number)
                    if what == "tokens":
                        for _ in range(count):
                            await job.send(f"{mine} {number} {job.attempt}.{sent} " + "x" * (size // count))
                            sent += 1
                    elif what == "save":
                        await job.save({mine: "x" * size})
                    elif what == "progress":
                        await job.progress(1, 2, mine)
                    elif what == "fail":
                        raise ValueError(mine)
                    elif what == "end":
                        return str(mine + "x" * size)
                    self.busy.discard(number)
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await trio.sleep(work.slow)
                raise
            raise AssertionError("nobody closes it")

        marked: Callable[..., Awaitable[str]] = handler(act)
        return marked

    # ------------------------------------------------------------ what the model knows

    def known(self) -> list[Work]:
        """Return the jobs whose ids somebody was told."""
        return [work for work in self.works if work.id]

    def running(self) -> list[Work]:
        """Return the jobs that run."""
        truth = [(work, self.truth.get(work.number)) for work in self.known()]
        return [work for work, job in truth if job is not None and job.state is State.RUNNING]

    def works_seen(self, who: str) -> list[Work]:
        """Return the jobs that a caller may know of."""
        return [work for work in self.works if work.seen_by(who)]

    def seats(self, address: str | None = None) -> tuple[int, int]:
        """Return how many seats are taken, of an address or of all: at least, and at most."""
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
        """Return what a request that needs a seat may be told: that there is none, or not that."""
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
        """Return what a request may be answered, but for limits."""
        if op == "statistics":
            return frozenset({"ok"} if who == EVERYBODY else {"forbidden"})
        if work is not None and not work.seen_by(who):
            return frozenset({"unknown_job"})
        return frozenset({"ok"})

    def pick(self, found: Sequence[T], at: int) -> T | None:
        """Return one of some."""
        return found[at % len(found)] if found else None

    def webs(self) -> list[Peer]:
        """Return the WebSockets that are open and read."""
        return [peer for peer in self.peers if peer.is_web and not (peer.gone or peer.excused)]

    def calls_of(self, peer: Peer) -> list[Asked]:
        """Return the calls that a peer waits for."""
        return [one for one in peer.asked if not one.waits and one.op != "upgrade"]

    # ------------------------------------------------------------ connecting

    def connect(self, who: str, address: str, *, small: bool) -> Peer:
        """Connect."""
        stream = self.network.connect(PORT, address, SMALL if small else None)
        peer = Peer(stream, who, address)
        peer.found = self.told
        self.peers.append(peer)
        self.nursery.start_soon(peer.run)
        return peer

    def upgrade(self, peer: Peer, want: frozenset[str] | None = None) -> Asked:
        """Ask for a WebSocket."""
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
        """Several peers open WebSockets at once, some of whom are not known."""
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

    async def upgrade_later(self, who: str, address: str, at: int, ops: list[str], early: bool) -> None:
        """A connection that was used for HTTP asks for a WebSocket, behind what it asks besides.

        It may ask for more before it was let in, which is done if it is.
        """
        if self.door != "http" or self.sockets(address) >= 2 * self.limits.per_client:
            return
        peer = self.connect(who, address, small=False)
        for op in ops:
            self.ask_http(peer, op, at)
        want = self.full(peer) if not ops else frozenset({"ok", "too_many"})
        asked = self.upgrade(peer, want)
        if early:
            self.ask_web(peer, "list", at)
        await self.settle()
        assert asked.outcome is not None

    # ------------------------------------------------------------ asking by WebSocket

    def new_work(self, who: str) -> Work:
        """Return a job that is about to be submitted."""
        number = len(self.works_by_number)
        work = self.works_by_number[number] = Work(number, who)
        self.inboxes[number] = trio.open_memory_channel[Any](math.inf)
        self.works.append(work)
        return work

    def body_of(self, work: Work) -> dict[str, Any]:
        """Return how a job is submitted."""
        tags = {"n": str(work.number), "of": mark(work.owner)}
        options = {"tags": tags, "key": f"key{work.number % 2}-{work.number}"}
        return {"handler": "act", "args": [work.number], "options": options}

    async def queued(self, who: str) -> int:
        """Return how many jobs of an owner wait."""
        return len(await self.jobs.find(state=State.QUEUED, owner=who))

    def ask_web(
        self, peer: Peer, op: str, at: int, want: frozenset[str] | None = None, **fields: Any
    ) -> Asked:
        """Ask over a WebSocket."""
        work = self.pick(self.known(), at)
        message: dict[str, Any] = {"op": op, "id": peer.number(), **fields}
        if op == "submit":
            work = self.new_work(peer.who)
            work.slow = 40.0 if at % 4 == 0 else 0.0
            message |= self.body_of(work)
        elif op in {"list", "find", "handlers", "statistics", "ping"}:
            work = None
        else:
            message["job"] = work.id if work else "0" * 32
        if op == "value":
            assert "job" in message
            seq = self.truth[work.number].last_seq if work and work.number in self.truth else 0
            message |= {"field": ("result", "saved", "metadata")[at % 3], "seq": seq} | fields
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
        if op == "cancel":
            asked.until = trio.current_time() + message.get("patience", 10.0) + 0.2
        peer.faults = 0
        peer.tell(asked, message)
        return asked

    async def ask(self, at: int, op: str, job: int) -> None:
        """A peer asks for something that is answered at once."""
        peer = self.pick(self.webs(), at)
        if peer is None:
            return
        is_full = len(self.calls_of(peer)) >= self.limits.calls
        want: frozenset[str] | None = None
        waits = await self.queued(peer.who) if op == "submit" and peer.who in OWNERS else 0
        if waits >= self.limits.queued or (is_full and not (peer.stalled or op == "ping")):
            want = frozenset({"too_many"})
        asked = self.ask_web(peer, op, job)
        if want is not None:
            asked.want = want
        if peer.stalled:
            asked.want |= {"too_many"}
        await self.settle()
        if op == "list" and asked.outcome == "ok":
            found = {one["id"] for one in asked.fields["jobs"]}
            assert found == {work.id for work in self.works_seen(peer.who)}

    @rule(turns=turns, who=whos)
    async def talk(self, turns: list[tuple[str, dict[str, Any]]], who: str) -> None:
        """Peers ask, follow and take note, and jobs go on, each in turn; somebody is there who does."""
        if not self.webs():
            await self.come_by_web(who, ADDRESSES[0], small=False)
        for name, given in turns:
            await getattr(self, name)(**given)

    @rule(what=happenings)
    async def happen(self, what: tuple[str, dict[str, Any]]) -> None:
        """Peers come and fail, time passes, the store is away, or the server stops."""
        name, given = what
        await getattr(self, name)(**given)

    async def ask_much(self, at: int, ops: list[str], job: int) -> None:
        """A peer asks for much at once; as much as it may is done, whether it takes the answers or not."""
        peer = self.pick(self.webs(), at)
        if peer is None:
            return
        free = self.limits.calls - len(self.calls_of(peer))
        asked = [self.ask_web(peer, op, job + turn, frozenset({"too_many"})) for turn, op in enumerate(ops)]
        await self.settle()
        calls = [one for one in asked if one.op != "ping"]
        refused = [one for one in calls if one.outcome == "too_many" and one.op != "submit"]
        assert peer.stalled or len(refused) <= max(0, len(calls) - free)

    async def ask_and_take_nothing(self, address: str) -> None:
        """What a peer asks for, who takes no answers, is not done but for what may be open."""
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
            most = TAKEN + self.limits.calls
            assert sum(len(found) for found in done) <= most, f"more than {most} calls are open"
        peer.hang_up()
        await self.settle()

    async def watch_together(self, job: int, window: int | None, large: int) -> None:
        """Many follow a job; it goes on; the first of them stops; it goes on again."""
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
        """A job saves what is more than one piece, and everybody asks for the first; who may, gets it."""
        work = self.pick(self.running(), job)
        if work is None:
            return
        self.inboxes[work.number][0].send_nowait(("save", 1, 300_000))
        await self.settle()
        for peer in self.webs():
            self.ask_web(peer, "value", self.known().index(work), frozenset({"too_many"}), field="saved")
            await self.settle()

    async def ask_for_what_takes_time(self, at: int, job: int, more: int) -> None:
        """A peer asks for as much as may be open at once, and for some more, which is refused."""
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
        if held >= self.limits.follows:
            asked.want = frozenset({"too_many"})
        elif op == "follow" and work.seen_by(peer.who) and after > self.truth[work.number].last_seq:
            asked.want = frozenset({"stream_gap"})
        if peer.stalled:
            asked.want |= {"too_many"}
        await self.settle()

    def following(self) -> list[tuple[Peer, Asked]]:
        """Return what goes on, over WebSockets that read."""
        return [(peer, one) for peer in self.webs() for one in peer.asked if one.waits and not peer.stalled]

    async def ack(self, at: int, beyond: int) -> None:
        """A peer says how far it has read, or further."""
        follows = [(peer, asked) for peer, asked in self.following() if asked.op == "follow"]
        windowed = [(peer, asked) for peer, asked in follows if asked.window is not None]
        found = self.pick(windowed or follows, at)
        if found is None:
            return
        peer, asked = found
        cursor = asked.sent + (beyond if asked.window else 0)
        peer.faults = 0
        if beyond and asked.window is not None:
            peer.extra.append((asked.number, "an ack of what was not sent"))
            peer.faults = 1
        else:
            asked.acked = cursor
        peer.tell(None, json.dumps({"op": "ack", "id": asked.number, "cursor": cursor}).encode())
        await self.settle()
        assert not peer.extra

    async def unfollow(self, at: int, twice: bool) -> None:
        """A peer ends a follow or a wait, and may use its id again once it was told."""
        found = self.pick(self.following(), at)
        if found is None:
            return
        peer, asked = found
        for _ in range(1 + twice):
            peer.tell(None, json.dumps({"op": "unfollow", "id": asked.number}).encode())
        await self.settle()
        over = asked.work is not None and self.truth[asked.work.number].state.over
        assert asked.outcome == "unfollowed" or (over and asked.outcome == "ok")

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
        """So much in a row is answered, and then the connection is closed."""
        peer = self.pick([one for one in self.webs() if not one.stalled], at)
        if peer is None:
            return
        for _ in range(count):
            peer.faults += 1
            if peer.faults >= FAULTS:
                peer.closes.add(1008)
                peer.excused = True
                peer.tell(None, b"{}")
                break
            peer.extra.append((None, ""))
            peer.tell(None, b"{}")
        await self.settle()
        assert not peer.extra
        assert (peer.code == 1008) == (peer.faults >= FAULTS)

    async def send_the_most(self, at: int, over: Any) -> None:
        """A message of as many bytes as one may have is answered, with one more the connection is closed."""
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
        else:
            peer.faults = 0
        await self.settle()
        assert peer.code == code

    # ------------------------------------------------------------ asking by HTTP

    def http_request(self, peer: Peer, op: str, at: int, chunked: bool = False) -> tuple[Asked, bytes]:
        """Return a request, and its bytes."""
        work = self.pick(self.known(), at)
        job = work.id if work else "0" * 32
        method, path, body = "GET", f"/v1/jobs/{job}", None
        if op == "submit":
            work = self.new_work(peer.who)
            work.slow = 40.0 if at % 4 == 0 else 0.0
            method, path, body = "POST", "/v1/jobs", json.dumps(self.body_of(work)).encode()
        elif op == "cancel":
            method, path = "DELETE", f"{path}?patience=20"
        elif op in {"list", "find"}:
            op, path, work = "list", "/v1/jobs", None
        elif op in {"handlers", "statistics"}:
            path, work = f"/v1/{op}", None
        elif op == "ping":
            op, path, work = "health", "/healthz", None
        elif op == "value":
            path += "/" + ("result", "saved", "metadata")[at % 3]
        elif op in {"history", "stream"}:
            path += f"/{op}"
        asked = Asked(op, self.expected(peer.who, op, work), work=work, method=method)
        if work is None and "/jobs/" in path:
            asked.want = frozenset({"unknown_job"})
        if op == "cancel":
            asked.until = trio.current_time() + 20.2
        headers = {"Host": HOST, "Authorization": f"Bearer {peer.who}"}
        if chunked and body is not None:
            half = len(body) // 2
            pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:half], body[half:], b"")]
            headers |= {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
            return asked, request(method, path, headers) + b"".join(pieces)
        return asked, request(method, path, headers, body)

    def ask_http(self, peer: Peer, op: str, at: int, chunked: bool = False) -> Asked:
        """Ask over HTTP, behind what was asked there before."""
        full = self.full(peer)
        asked, data = self.http_request(peer, op, at, chunked)
        if self.door == "websocket":
            asked.want = frozenset({"upgrade_required", "too_many"})
        elif peer.asked:
            asked.want |= {"too_many"}  # by then
        elif "ok" not in full and asked.op != "health":
            asked.want = full
        else:
            asked.want |= full - {"ok"}
        peer.ask_http(asked, data)
        return asked

    def lines(self) -> list[Peer]:
        """Return the connections that speak HTTP, and may be asked on."""
        return [
            peer
            for peer in self.peers
            if not (peer.is_web or peer.gone or peer.excused or peer.stalled or peer.says_close)
            and not any(one.op in {"stream", "upgrade", "cancel"} for one in peer.asked)
        ]

    async def ask_by_http(
        self,
        who: str,
        address: str,
        small: bool,
        at: int,
        again: bool,
        ops: list[str],
        last: str | None,
        chunked: bool,
    ) -> None:
        """A peer asks over a new connection or one that it has, for several things one behind the other."""
        peer = self.pick(self.lines(), at) if again else None
        if peer is None:
            if self.sockets(address) >= 2 * self.limits.per_client + 8:
                return
            peer = self.connect(who, address, small=small)
        wants_full = len(ops) == 1 and ops[0] == "submit" and peer.who in OWNERS
        full = wants_full and not peer.asked and await self.queued(peer.who) >= self.limits.queued
        asks: list[str] = [*ops, *([last] if last else [])]
        for turn, op in enumerate(asks):
            asked = self.ask_http(peer, op, at + turn, chunked)
            if op == "submit" and peer.who in OWNERS and self.door == "http":
                asked.want |= {"too_many"}
                if full:
                    asked.want = frozenset({"too_many"})
        await self.settle()

    async def be_refused(self, address: str, case: str) -> None:
        """What may not be is refused with its code, and the seat is free again."""
        if self.door != "http" or self.sockets(address) >= 2 * self.limits.per_client:
            return
        peer = self.connect("nobody" if case == "who" else EVERYBODY, address, small=False)
        method, path, body = "POST", "/v1/jobs", json.dumps({"handler": "none"}).encode()
        headers = {"Host": HOST, "Authorization": f"Bearer {peer.who}"}
        want = {
            "host": "misdirected",
            "origin": "forbidden",
            "who": "unauthenticated",
            "path": "not_found",
            "method": "method_not_allowed",
            "type": "wrong_type",
            "large": "too_large",
            "most": "unknown_handler",
            "version": "upgrade_required",
        }[case]
        if case == "host":
            headers["Host"] = "example.org"
        elif case == "origin":
            headers["Origin"] = "https://example.org"
        elif case == "path":
            path = "/v1/nothing"
        elif case == "method":
            method = "PUT"
        elif case == "type":
            headers["Content-Type"] = "text/plain"
        elif case in {"large", "most"}:
            body += b" " * (MESSAGE - len(body) + (case == "large"))
        elif case == "version":
            method, path, body = "GET", "/v1/ws", None  # type: ignore[assignment]
            headers |= {"Connection": "upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "7"}
        full = self.full(peer)
        always = {"host", "origin", "version"}  # is looked at before seats are
        asked = Asked("refused", frozenset({want}), method=method)
        if case not in always:
            asked.want = full if "ok" not in full else (full - {"ok"}) | {want}
        elif "too_many" in full:
            asked.want |= {"too_many"}
        peer.ask_http(asked, request(method, path, headers, body))
        await self.settle()
        assert asked.outcome is not None
        peer.hang_up()
        await self.settle()

    # ------------------------------------------------------------ peers that fail

    async def fail(self, at: int, how: str) -> None:
        """A peer reads no more, closes its half, or hangs up, with or without what it should have read."""
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

    async def die_at_any_byte(
        self, who: str, address: str, at: int, op: str, web: bool, cut: int, waits: float, read: bool
    ) -> None:
        """A peer dies within a request, at once or after a while, or behind it, with the answer unread."""
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
        """The store is away for a moment, in which things are asked."""
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
        """The server stops, while things are open, and another one begins."""
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
        for peer in self.peers:
            peer.excused = True
        self.serving.cancel()
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

    # ------------------------------------------------------------ what must hold

    def told(self, work: Work | None, fields: Any) -> None:
        """Take note of what a peer was told of a job."""
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
        """Let everything happen that will, and look whether it is right."""
        self.sound = False
        await trio.sleep(0.5)
        await wait_all_tasks_blocked()  # what happens at this very moment is over, too
        assert not self.mistakes.found, self.mistakes.found[0]
        await self._learn()
        now = trio.current_time()
        for peer in self.peers:
            if peer.stalled and now > peer.stalled_at + DROPPED:
                peer.hang_up()  # nobody is there any more; the books forget it
        self.peers = [peer for peer in self.peers if not peer.gone]
        unread = any(peer.stalled for peer in self.peers) if self.tight else False
        for peer in self.peers:
            if not (peer.stalled or peer.excused):
                for asked in peer.asked:
                    assert self._may_wait(peer, asked, now) or (unread and not asked.waits), (
                        f"{peer.who} still waits for {asked}"
                    )
        for owner in OWNERS:
            assert await self.queued(owner) <= self.limits.queued, "more jobs wait than may"
        self._check_jobs()
        self.sound = True

    async def _learn(self) -> None:
        """Learn of the jobs in the registry, which the server's answers are compared with."""
        pending = {one.work for peer in self.peers if not peer.gone for one in peer.asked}
        for work in list(self.works):
            found = await self.jobs.find(tags={"n": str(work.number)})
            assert len(found) <= 1, "it was submitted twice"
            if found:
                assert found[0].owner == (None if work.owner == EVERYBODY else work.owner)
                assert work.id in ("", found[0].id)
                work.id = found[0].id
                self.truth[work.number] = await (await self.jobs.get(work.id)).snapshot()
            elif work not in pending:
                self.works.remove(work)

    def _may_wait(self, peer: Peer, asked: Asked, now: float) -> bool:
        """Return whether a request may be without an answer still."""
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
        """A job goes on unless somebody may hold it up."""
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

    async def finish(self) -> None:
        """Have everybody leave: nothing of them stays, and others find the server as it was."""
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
