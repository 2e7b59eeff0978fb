"""The table of requests: every call is answered once, every log is read once, whatever connections do."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.client.peer import Peer, job, log
from tests.wire import ProtocolViolation, Seen, SubmitOptions, requests
from trio_jobs import Event, Job, KeyConflict, StreamGap, UnknownHandler, UnknownJob
from trio_jobs.client.errors import Disconnected, ServerError
from trio_jobs.client.jobs import seen_in
from trio_jobs.client.request_table import CALLS, LOSSES, STRIKES, Call, RequestTable, ServerCloses
from trio_jobs.client.subscription import WINDOW, RemoteSubscription
from trio_jobs.serving.limits import Limits
from trio_jobs.serving.values import encode_job

LOST = Disconnected("ws://a", "it broke")


def connected() -> RequestTable:
    """Return a table of requests on a connection, after its first ping."""
    table = RequestTable()
    table.connected()
    assert sent(table)["op"] == "ping"
    return table


def sent(table: RequestTable) -> dict[str, Any]:
    """Return the next message to send."""
    message = table.outgoing()
    assert message is not None
    return dict(msgspec.json.decode(message))


def everything(table: RequestTable) -> list[dict[str, Any]]:
    """Return all messages to send."""
    found = []
    while (message := table.outgoing()) is not None:
        found.append(msgspec.json.decode(message))
    return found


def get(table: RequestTable, job_id: str = "7") -> Call[Seen]:
    """Begin a call that looks a job up."""
    return table.ask(requests.Get(id=table.new_id(), job=job_id), job_id, seen_in)


def wait(table: RequestTable, job_id: str = "7") -> Call[Seen]:
    """Begin a call that waits for a job."""
    return table.ask(requests.Wait(id=table.new_id(), job=job_id), job_id, seen_in)


def submit(table: RequestTable, key: str, handler: str = "work") -> Call[Seen]:
    """Begin a call that submits a job."""
    options = SubmitOptions(key=key)
    request = requests.Submit(id=table.new_id(), handler=handler, options=options)
    return table.ask(request, handler, seen_in)


def reply(table: RequestTable, re: int | None, **fields: object) -> None:
    """Let a reply of the server arrive."""
    table.received(msgspec.json.encode({"re": re, **fields}).decode())


def error(table: RequestTable, re: int | None, code: str, **facts: object) -> None:
    """Let an error of the server arrive."""
    reply(table, re, error={"code": code, "message": "no", **facts})


def plain(one: Job) -> dict[str, Any]:
    """Return a job as a reply has it."""
    return dict(msgspec.json.decode(encode_job(one, tracebacks=True)))


# ------------------------------------------------------------ calls


def test_an_answer_goes_to_its_call() -> None:
    """Two calls are answered in the other order, each with its own answer."""
    table = connected()
    one, two = get(table, "1"), get(table, "2")
    assert [message["job"] for message in everything(table)] == ["1", "2"]
    reply(table, two.id, job=plain(job("2")))
    assert not one.done
    reply(table, one.id, job=plain(job("1")))
    assert (one.answer().job.id, two.answer().job.id) == ("1", "2")


def test_nothing_is_sent_without_a_connection() -> None:
    """Requests made without a connection are sent on the next one, in order, after a ping."""
    table = RequestTable()
    get(table, "1")
    follow = table.follow("2", 5, "gap")
    assert table.outgoing() is None
    table.connected()
    messages = everything(table)
    assert [message["op"] for message in messages] == ["ping", "get", "follow"]
    assert messages[2] == {
        "op": "follow",
        "id": follow.id,
        "job": "2",
        "after": 5,
        "policy": "gap",
        "window": WINDOW,
    }


def test_what_was_not_answered_is_asked_again() -> None:
    """After a reconnect, the same message is sent for each open call, and none for an answered one."""
    table = connected()
    one, two = submit(table, "a"), submit(table, "b")
    first = everything(table)
    reply(table, one.id, job=plain(job("1")))
    table.closed(None, LOST)
    assert table.outgoing() is None
    table.connected()
    assert everything(table)[1:] == [first[1]]
    reply(table, two.id, job=plain(job("2")))
    assert two.answer().job.id == "2"


def test_a_dropped_call_that_was_not_sent_does_not_happen() -> None:
    """A call that was dropped before it was sent is never sent, on this connection or another."""
    table = connected()
    call = submit(table, "a")
    table.drop(call)
    assert everything(table) == []
    table.connected()
    assert len(everything(table)) == 1


def test_the_late_answer_of_a_dropped_call_is_nobody_s() -> None:
    """The answer to a call that was dropped after it was sent is ignored, and the call not repeated."""
    table = connected()
    call = get(table)
    everything(table)
    table.drop(call)
    reply(table, call.id, job=plain(job("7")))
    assert not call.done
    assert everything(table) == []


def test_a_dropped_wait_is_ended_at_the_server() -> None:
    """A wait or a follow that was dropped ends at the server."""
    table = connected()
    one, two = wait(table), table.follow("7", 0, "gap")
    three, four = wait(table), wait(table)
    everything(table)
    table.drop(one)
    table.drop(two)
    assert everything(table) == [{"op": "unfollow", "id": one.id}, {"op": "unfollow", "id": two.id}]
    reply(table, one.id, unfollowed=True)
    table.closed(None, LOST)
    table.drop(three)
    table.connected()
    table.drop(four)  # which this server has not been asked
    assert [message["op"] for message in everything(table)] == ["ping"]


def test_no_more_calls_are_under_way_than_servers_take() -> None:
    """Calls beyond the limit are sent as others are answered; dropped ones count until their answers."""
    table = connected()
    calls = [get(table) for _ in range(CALLS + 2)]
    wait(table)
    messages = everything(table)
    assert [message["op"] for message in messages] == ["get"] * CALLS + ["wait"]
    table.drop(calls[0])
    assert everything(table) == []
    reply(table, calls[0].id, job=plain(job("7")))
    assert [message["id"] for message in everything(table)] == [calls[CALLS].id]
    error(table, calls[1].id, "unknown_job")
    assert [message["id"] for message in everything(table)] == [calls[CALLS + 1].id]
    table.closed(None, LOST)
    table.connected()
    assert [message["op"] for message in everything(table)] == ["ping"] + ["get"] * CALLS + ["wait"]


@pytest.mark.parametrize(
    ("code", "facts", "kind"),
    [
        ("unknown_job", {}, UnknownJob),
        ("unknown_handler", {"known": ["a"]}, UnknownHandler),
        ("key_conflict", {"key": "k", "job_id": "7"}, KeyConflict),
        ("too_many", {}, ServerError),
        ("no_such_code_yet", {}, ServerError),
    ],
)
def test_an_error_is_the_answer(code: str, facts: dict[str, object], kind: type[Exception]) -> None:
    """An error of the server is raised by the call that it belongs to, and by no other."""
    table = connected()
    call, other = get(table), get(table)
    everything(table)
    error(table, call.id, code, **facts)
    with pytest.raises(kind):
        call.answer()
    assert not other.done


@pytest.mark.parametrize(
    "message",
    [
        "",
        "7",
        "{}",
        '{"re": null}',
        '{"re": 0}',
        '{"re": 99, "pong": true}',
        '{"re": "1"}',
        '{"re":1,"error":7}',
    ],
)
def test_nonsense_is_noticed(message: str) -> None:
    """A reply to no request is a protocol violation."""
    with pytest.raises(ProtocolViolation):
        connected().received(message)


def test_a_reply_without_its_answer_is_noticed() -> None:
    """A reply without its answer, or with an incomplete job, is a protocol violation."""
    table = connected()
    call = get(table)
    everything(table)
    for fields in ({"pong": True}, {"job": {"id": "7"}}, {"job": {**plain(job("7")), "state": "gone"}}):
        with pytest.raises(ProtocolViolation):
            reply(table, call.id, **fields)
    assert not call.done


async def rings(table: RequestTable, action: Callable[[], object]) -> bool:
    """Return whether an action wakes the task that waits for messages to send."""
    woken = False

    async def writer() -> None:
        nonlocal woken
        await table.bell.wait()
        woken = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer)
        await wait_all_tasks_blocked()
        action()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return woken


async def test_the_writer_is_woken_when_there_is_something_to_send() -> None:
    """Each cause of a message wakes the writer: a new connection, a request, an ack, the end of a wait, and
    an answer that makes room for another call."""
    table = RequestTable()
    assert await rings(table, table.connected)
    assert await rings(table, lambda: [get(table) for _ in range(CALLS + 1)])
    first = everything(table)[1]["id"]
    assert await rings(table, lambda: reply(table, first, job=plain(job("7"))))
    assert len(everything(table)) == 1
    follow = table.follow("7", 0, "gap")
    other = wait(table)
    everything(table)
    peer = Peer({"7": log(WINDOW)})
    peer.take(msgspec.json.encode(follow.request()).decode())
    table.received(str(peer.send_on(follow.id, WINDOW)))
    follow.drain()
    follow.read(WINDOW)
    assert await rings(table, lambda: table.was_read(follow))
    assert await rings(table, lambda: table.drop(other))
    assert [message["op"] for message in everything(table)] == ["unfollow", "ack"]
    assert not await rings(table, lambda: table.was_read(follow))


# ------------------------------------------------------------ ends of connections


def test_a_server_that_closes_has_not_answered() -> None:
    """`closing` is no answer: the call is sent again, until it is clear that this server only replies so."""
    table = connected()
    call = get(table)
    for _ in range(STRIKES - 1):
        everything(table)
        with pytest.raises(ServerCloses):
            error(table, call.id, "closing")
        table.closed(1001, LOST)
        table.connected()
        assert not call.done
    everything(table)
    with pytest.raises(ServerCloses):
        error(table, call.id, "closing")
    with pytest.raises(ServerError, match="closing"):
        call.answer()


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1011])
def test_what_ends_every_connection_is_given_up(code: int) -> None:
    """A request that was open each time a connection ended as if by its fault is not sent for ever; one that
    was not sent does not count as the cause."""
    table = RequestTable()
    call, follow = get(table), table.follow("7", 0, "gap")
    for _ in range(STRIKES):
        assert not call.done
        table.connected()
        everything(table)
        late = get(table)
        table.closed(code, LOST)
        table.drop(late)
    with pytest.raises(ServerError, match=str(code)):
        call.answer()
    assert isinstance(follow.error, ServerError)
    assert not late.done


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1008, 1013])
def test_a_connection_may_end_as_often_as_it_likes(code: int | None) -> None:
    """After any number of ends by the network, or by a server that stops, requests are sent again."""
    table = RequestTable()
    call, follow = wait(table), table.follow("7", 0, "gap")
    for _ in range(3 * STRIKES):
        table.connected()
        assert {message["op"] for message in everything(table)} == {"ping", "wait", "follow"}
        table.closed(code, LOST)
    assert not call.done
    assert follow.error is None


def test_a_call_without_luck_is_given_up() -> None:
    """A call that was sent over many connections and never answered raises a network error; one that waited
    to be sent meanwhile does not."""
    table = RequestTable()
    call = get(table)
    for _ in range(LOSSES):
        assert not call.done
        late = get(table)
        table.connected()
        everything(table)
        table.closed(None, LOST)
    with pytest.raises(Disconnected):
        call.answer()
    assert not late.done


def test_the_largest_request_is_the_one_that_was_too_large() -> None:
    """After 1009 the largest call raises an error, and the others are sent again; small ones never do."""
    table = connected()
    small, large = submit(table, "a"), submit(table, "b" * 2000)
    unsent = RequestTable()
    everything(table)
    table.closed(1009, LOST)
    with pytest.raises(ServerError, match="too_large"):
        large.answer()
    table.connected()
    assert [message["id"] for message in everything(table)[1:]] == [small.id]
    table.closed(1009, LOST)
    assert not small.done
    unsent.closed(1009, LOST)


def test_an_error_that_waiting_does_not_mend_ends_all() -> None:
    """`fail` answers every call, and ends every follow, with the error."""
    table = RequestTable()
    call, follow = get(table), table.follow("7", 0, "gap")
    table.fail(ServerError("unauthenticated", "who are you?"))
    with pytest.raises(ServerError, match="unauthenticated"):
        call.answer()
    assert isinstance(follow.error, ServerError)
    table.connected()
    assert len(everything(table)) == 1


# ------------------------------------------------------------ follows


def test_a_log_is_asked_for_behind_what_was_read() -> None:
    """After a reconnect a log is followed behind its reader's cursor, and repeated events are dropped."""
    table = connected()
    follow = table.follow("7", 0, "gap")
    everything(table)
    events = [msgspec.to_builtins(event) for event in log(8)]
    reply(table, follow.id, events=events[:6])
    assert [event.seq for event in follow.drain()] == [1, 2, 3, 4, 5, 6]
    follow.read(2)
    table.closed(None, LOST)
    table.connected()
    assert everything(table)[1]["after"] == 2
    reply(table, follow.id, events=events[2:8])
    assert [event.seq for event in follow.drain()] == [7, 8]


def test_a_follow_ends_once() -> None:
    """A follow that has ended is not sent again, nor ended at the server."""
    table = connected()
    follow = table.follow("7", 11, "gap")
    everything(table)
    reply(table, follow.id, end=True)
    assert follow.ended
    table.drop(follow)
    table.connected()
    assert [message["op"] for message in everything(table)] == ["ping"]


def test_a_follow_that_failed_may_be_begun_again() -> None:
    """An error ends a follow; a new one has another id, as the server may still use the old one."""
    table = connected()
    follow = table.follow("7", 11, "gap")
    (first,) = everything(table)
    error(table, follow.id, "stream_gap", first=9, last=11, oldest=8)
    assert isinstance(follow.error, StreamGap)
    follow.resume(8)
    table.refollow(follow)
    (second,) = everything(table)
    assert second == {**first, "id": follow.id, "after": 8}
    assert second["id"] != first["id"]


def test_a_reply_to_a_follow_says_something() -> None:
    """An empty reply to a follow is a protocol violation."""
    table = connected()
    follow = table.follow("7", 0, "gap")
    everything(table)
    with pytest.raises(ProtocolViolation):
        reply(table, follow.id)


def test_only_the_newest_ack_is_sent() -> None:
    """However often a reader moves while nothing can be sent, one ack is to be sent for it."""
    table = connected()
    follow = table.follow("7", 0, "gap")
    everything(table)
    peer = Peer({"7": log(WINDOW)})
    peer.take(msgspec.json.encode(follow.request()).decode())
    table.received(str(peer.send_on(follow.id, WINDOW)))
    for event in follow.drain():
        follow.read(event.seq)
        table.was_read(follow)
    assert everything(table) == [{"op": "ack", "id": follow.id, "cursor": WINDOW}]


# ------------------------------------------------------------ all of it, in any order


class Reader:
    """Reads a follow as `RemoteCursor` does, some events at a time."""

    def __init__(self, table: RequestTable, job_id: str, policy: Literal["gap", "block"]) -> None:
        self.follow: RemoteSubscription = table.follow(job_id, 0, policy)
        self.found: list[Event] = []
        self._table = table
        self._batch: list[Event] = []

    def read(self, most: int) -> None:
        """Read up to so many events."""
        for _ in range(most):
            if not self._batch:
                self._batch = self.follow.drain()
                self._table.was_read(self.follow)
                if not self._batch:
                    return
            event = self._batch.pop(0)
            self.found.append(event)
            self.follow.read(event.seq)
            self._table.was_read(self.follow)


class Story:
    """A client and a server over connections that break at random."""

    def __init__(self, seed: int, *, trimmed: int) -> None:
        self.random = random.Random(seed)
        full = log(3 * WINDOW)
        kept = full[:2] + full[2 + trimmed :]
        self.peer = Peer({"1": log(5), "2": kept, "3": log(WINDOW + 3)}, limits=Limits(calls=CALLS))
        self.table = RequestTable()
        policies = self.random.choices(["gap", "block"], k=3)
        self.readers = [
            Reader(self.table, job_id, "gap" if policy == "gap" else "block")
            for job_id, policy in zip(self.peer.logs, policies, strict=True)
        ]
        self.submits: dict[str, Call[Seen]] = {}
        self.to_server: list[str] = []
        self.to_client: list[str] = []
        self.connected = False

    def step(self) -> None:
        """Do one thing."""
        chance = self.random
        if not self.connected or chance.random() < 0.03:
            self.cut()
        what = chance.choice(
            ["submit", "write", "write", "arrive", "arrive", "answer", "send", "send", "read", "read"]
        )
        if what == "submit" and len(self.submits) < 60:
            key = f"key {len(self.submits)}"
            self.submits[key] = submit(self.table, key)
        elif what == "write" and (message := self.table.outgoing()) is not None:
            self.to_server.append(message)
        elif what == "arrive":
            if self.to_server:
                self.to_client += self.peer.take(self.to_server.pop(0))
            if self.to_client:
                self.table.received(self.to_client.pop(0))
        elif what == "answer" and self.peer.pending:
            self.to_client.append(self.peer.answer(chance.choice(list(self.peer.pending))))
        elif what == "send" and self.peer.follows:
            frame = self.peer.send_on(chance.choice(list(self.peer.follows)), chance.choice([1, 7, 300]))
            self.to_client += [] if frame is None else [frame]
        elif what == "read":
            chance.choice(self.readers).read(chance.choice([1, 20, 500]))

    def cut(self) -> None:
        """Break the connection, losing all messages under way, and make another."""
        self.table.closed(None, LOST)
        self.to_server.clear()
        self.to_client.clear()
        self.peer.connect()
        self.table.connected()
        self.connected = True

    def end(self) -> None:
        """Exchange all messages on a last connection that holds."""
        self.cut()
        for _ in range(20):
            self.peer.flush(self.table.received, self.table.outgoing)
            for reader in self.readers:
                reader.read(1000)


@given(st.integers(0, 2**32), st.integers(0, 600), st.sampled_from([0, 1, 200, 3 * WINDOW]))
def test_whatever_connections_do(seed: int, steps: int, trimmed: int) -> None:
    """Over any cuts of the connection, each submission is one job and its call is answered with that job;
    each reader gets every event of its log once and in order; the server is never more than a window ahead of
    the acks, and never refuses a message."""
    story = Story(seed, trimmed=trimmed)
    for _ in range(steps):
        story.step()
    story.end()
    assert story.peer.refused == []
    assert {key: call.answer().job.id for key, call in story.submits.items()} == story.peer.keys
    for reader, events in zip(story.readers, story.peer.logs.values(), strict=True):
        assert reader.found == events
        assert reader.follow.ended
    assert story.peer.ahead <= WINDOW
