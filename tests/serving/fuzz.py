"""Send nonsense to the server: `python tests/serving/fuzz.py --inputs 50000 --live 2000 --seed 7`.

The first part is for the sans-I/O session, which is to answer everything and to keep its counts. The second
is for live sockets: afterwards both servers are to serve as before, with no error of their own in the log.
What fails prints the command that does it again.
"""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

import trio  # found only now

from tests.serving.fuzzed import LIVE, mutated, nonsense, proper, raw, sends
from tests.serving.fuzzed import inputs as input_body
from tests.serving.place import DOORS, Place, place
from tests.serving.raw import CLOSE, TEXT, Gone, Peer, frame, handshake, request
from tests.wire import STATUS, Wait
from trio_jobs import Retention
from trio_jobs.serving import Limits
from trio_jobs.serving.problems import INTERNAL, Problem
from trio_jobs.serving.subscription import Subscription
from trio_jobs.serving.websocket.session import (
    Close,
    Perform,
    Reply,
    ResumeFollow,
    Session,
    StartFollow,
    Stop,
)

STRANGE: Final = Problem("changed", "x\n\x1b")
LIMITS: Final = Limits(message=4096, calls=4, follows=3)
LIVE_LIMITS: Final = Limits(message=4096, header=0.5, body=0.5, idle=1.0, ping=0.5)
BOX: Final = Retention(inputs=5)
AT_ONCE: Final = 20
"""Live connections at once; each carries a few inputs."""


def proper_but_refused(told: str) -> bool:
    """Return whether a refusal is of a message by the grammar, so that it is no nonsense."""
    return "in use" in told or "an ack of what was not sent" in told


class Model:
    """What a session must have kept, told without its code.

    Args:
        rng: Says what the driver does between messages.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.session = Session(LIMITS)
        self.calls: set[int] = set()
        self.waits: set[int] = set()
        self.follows: dict[int, Subscription] = {}
        self.faults = 0

    def step(self, message: str | bytes, *, valid: bool) -> str:
        """Give the session a message, check its replies, and return the kind of the step."""
        step = self.session.received(message)
        match step:
            case Perform(request):
                self._fresh(request.id)
                (self.waits if isinstance(request, Wait) else self.calls).add(request.id)
            case StartFollow(follow):
                self._fresh(follow.id)
                self.follows[follow.id] = follow
            case Stop(stopped):
                assert stopped in self.follows or stopped in self.waits
            case ResumeFollow(follow):
                assert self.follows[follow.id] is follow
                assert follow.cursor <= follow.sent
            case Reply(text):
                self._reply(json.loads(text), valid=valid)
            case Close(code, reason):
                assert code in {1003, 1008, 1009}
                assert len(reason.encode()) <= 123, "a close frame holds no more"
            case None:
                pass
        bad = isinstance(step, Reply) and '"bad_request"' in step.frame and not proper_but_refused(step.frame)
        self.faults = self.faults + 1 if bad else 0
        assert self.faults < 12, "nonsense without end is answered without end"
        assert len(self.calls) <= LIMITS.calls
        assert len(self.waits) + len(self.follows) <= LIMITS.follows
        return type(step).__name__

    def _fresh(self, number: int) -> None:
        assert 1 <= number < 2**53
        assert number not in self.calls | self.waits | self.follows.keys(), "an id has two meanings"

    @staticmethod
    def _reply(reply: dict[str, Any], *, valid: bool) -> None:
        if reply.keys() == {"re", "pong"}:
            return
        code = reply["error"]["code"]
        assert code in STATUS
        assert code != "internal"
        assert isinstance(reply["error"]["message"], str)
        if valid and code == "bad_request":
            assert proper_but_refused(reply["error"]["message"]), reply

    def drive(self) -> None:
        """Do a random part of what a driver does, and check the frames."""
        for follow in list(self.follows.values()):
            room = follow.room
            assert room is None or 0 <= room <= (follow.window or 0)
            if room != 0 and self.rng.random() < 0.5:
                count = self.rng.randint(1, min(room or 9, 9))
                last = follow.sent + count
                follow.moved(last)
                assert follow.sent == last
        for held in (self.calls, self.waits):
            for number in list(held):
                if self.rng.random() < 0.5:
                    held.discard(number)
                    frame_of: Callable[[], str] = self.rng.choice(
                        [
                            lambda number=number: self.session.answered(number, {"job": b"{}"}),
                            lambda number=number: self.session.failed(number, STRANGE),
                            lambda number=number: self.session.failed(number, INTERNAL),
                        ]
                    )
                    assert json.loads(frame_of())["re"] == number
        for number in list(self.follows):
            if self.rng.random() < 0.1:
                del self.follows[number]
                ended = self.session.ended if self.rng.random() < 0.5 else self.session.unfollowed
                assert json.loads(ended(number))["re"] == number


def fuzz_session(seed: int, inputs: int) -> Counter[str]:
    """Give sessions so many inputs, and count the steps.

    Raises:
        AssertionError: A session broke a rule; a note says which input it was.
    """
    counts: Counter[str] = Counter()
    rng = Random(seed)
    model = Model(rng)
    for number in range(inputs):
        kind = rng.choice([proper, proper, mutated, mutated, nonsense, raw])
        message = kind(rng)
        try:
            step = model.step(message, valid=kind is proper)
            model.drive()
        except BaseException as error:
            error.add_note(f"input {number} was {message!r}; again: {again(seed, inputs=number + 1)}")
            raise
        counts[step] += 1
        if step == "Close" or number % 500 == 499:
            model = Model(rng)
    return counts


# ------------------------------------------------------------ live


class Errors(logging.Handler):
    """Keeps the records that the server logs as its own errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.found.append(logging.Formatter().format(record))


def http_nonsense(rng: Random, here: Place, job: str) -> bytes:
    """Return a request with a mistake, perhaps about a job that is there."""
    method = rng.choice(["GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "get", "G\tT", "", "PRI"])
    paths = [
        "/v1/jobs",
        "/v1/jobs/x",
        "/v1/jobs/x/stream",
        "/v1/jobs/x/inputs",
        f"/v1/jobs/{job}/inputs",
        f"/v1/jobs/{job}/inputs/end",
        f"/v1/jobs/{job}",
        "/v1/handlers",
        "/healthz",
        "/",
        "*",
        "/v1/ws",
        "//",
        "/%ff",
    ]
    query = rng.choice(
        ["", "?after=-1", "?limit=x", "?state=%00", "?tag=a", "?tag==", "?%", "?grace=1e400", "?a=b&a"]
    )
    body = proper(rng).encode() if rng.random() < 0.5 else None
    names = [
        "Content-Length",
        "Transfer-Encoding",
        "Last-Event-ID",
        "Content-Type",
        "Expect",
        "Upgrade",
        "Connection",
    ]
    values = [
        "0",
        "-1",
        "chunked",
        "x" * 300,
        "application/json",
        "100-continue",
        "websocket",
        "h2c",
        "close",
        "\xff",
    ]
    names += ["Origin", "Authorization", "Idempotency-Key", "Host", "Sec-WebSocket-Key", "Cookie", "\x00"]
    names += ["Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"]
    values += ["Upgrade, \xff", "permessage-deflate", "a, b, trio-jobs.v1", "bearer.", "http://[", "1" * 30]
    headers = {"Host": here.host} | {rng.choice(names): rng.choice(values) for _ in range(rng.randrange(4))}
    kind = rng.random()
    if kind < 0.3:
        written = handshake(here.path, headers)
    elif kind < 0.6:
        written = request("POST", f"/v1/jobs/{job}/inputs", headers, input_body(rng).encode())
    else:
        written = request(method, rng.choice(paths) + query, headers, body)
    return scrambled(rng, written) if rng.random() < 0.5 else written


def scrambled(rng: Random, data: bytes) -> bytes:
    """Return bytes with some of them changed, doubled or cut off."""
    found = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(found) + 1)
        found[at : at + rng.randrange(3)] = rng.choice(
            [b"", rng.randbytes(2), b"\r\n", b"\0", found[:at][-20:]]
        )
    return bytes(found[: rng.randrange(len(found) + 1)] if rng.random() < 0.3 else found)


def frame_nonsense(rng: Random, job: str) -> bytes:
    """Return a WebSocket frame, valid or with a mistake, perhaps about a job that is there."""
    kind = rng.choice([proper, sends, mutated, nonsense, raw])
    message = kind(rng)
    payload = message.encode(errors="replace") if isinstance(message, str) else message
    payload = payload.replace(LIVE.encode(), job.encode())
    if rng.random() < 0.6:
        return frame(TEXT, payload)
    written = frame(
        rng.randrange(16),
        payload,
        last=rng.random() < 0.7,
        mask=rng.random() < 0.9,
        flags=rng.choice([0, 0, 0, 4, 7]),
    )
    return scrambled(rng, written) if rng.random() < 0.5 else written


async def bother(rng: Random, here: Place, job: str, inputs: int) -> None:
    """Open a connection, send bad input, and leave in one way or another."""
    peer = await here.dial()
    async with peer.stream:
        try:
            await talk(rng, here, peer, job, inputs)
        except Gone:
            return
        if rng.random() < 0.5:
            peer.vanish()
        elif rng.random() < 0.5:
            await peer.rest()


async def talk(rng: Random, here: Place, peer: Peer, job: str, inputs: int) -> None:
    """Send bad input, in parts of any size."""
    speaks = rng.choice(["websocket", "websocket", "http", "bytes"])
    if speaks == "websocket":
        await peer.send(handshake(here.path, {"Host": here.host}))
        assert (await peer.answer()).status == 101
    for _ in range(inputs):
        data = {
            "websocket": lambda: frame_nonsense(rng, job),
            "http": lambda: http_nonsense(rng, here, job),
            "bytes": lambda: rng.randbytes(rng.randrange(200)),
        }[speaks]()
        cut = rng.randrange(len(data) + 1)
        await peer.send(data[:cut])
        await peer.send(data[cut:])
    if speaks == "websocket":
        await peer.send(frame(CLOSE))


async def fuzz_live(seed: int, inputs: int) -> Counter[str]:
    """Send so many inputs to each of both servers; each then serves as before, and regrets nothing.

    Raises:
        AssertionError: A server did not serve any more, or logged an error of its own.
    """
    errors = Errors()
    logging.getLogger("trio_jobs").addHandler(errors)
    counts: Counter[str] = Counter()
    try:
        for door in DOORS:
            rng, taken = Random(seed), 0
            async with place(door, limits=LIVE_LIMITS, retention=BOX) as here:
                while counts[door] < inputs:
                    job = await here.submit("wait")
                    async with trio.open_nursery() as nursery:
                        for _ in range(AT_ONCE):
                            each = rng.randint(1, 9)
                            counts[door] += each
                            nursery.start_soon(bother, Random(rng.getrandbits(64)), here, job.id, each)
                    taken += (await job.snapshot()).unconsumed
                    await here.serves()
            assert taken or inputs < 2000, "no job was given an input by all this"
            assert not errors.found, "\n".join(errors.found[:3])
    except BaseException as error:
        error.add_note(f"again: {again(seed, live=inputs)}")
        raise
    finally:
        logging.getLogger("trio_jobs").removeHandler(errors)
    return counts


def again(seed: int, inputs: int = 0, live: int = 0) -> str:
    """Return the command that repeats the run."""
    return f"python tests/serving/fuzz.py --inputs {inputs} --live {live} --seed {seed}"


def main() -> None:
    """Send as many inputs as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=50_000, help="for the session (default: 50000)")
    parser.add_argument("--live", type=int, default=2000, help="for each server (default: 2000)")
    parser.add_argument("--seed", type=int, help="what they are drawn from (default: by chance)")
    given = parser.parse_args()
    seed = secrets.randbits(32) if given.seed is None else given.seed
    print(f"seed {seed}: {again(seed, given.inputs, given.live)}", flush=True)
    began = time.monotonic()
    steps = fuzz_session(seed, given.inputs)
    print(f"{given.inputs} inputs to sessions: {dict(steps)}, {time.monotonic() - began:.0f} s", flush=True)
    if not given.live:
        return
    began = time.monotonic()
    sent = trio.run(fuzz_live, seed, given.live)
    print(f"inputs to live sockets: {dict(sent)}, both serve as before, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
