"""Access: an open port needs `authenticate`, and a wrong or expired token gives none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

import pytest
import trio
from trio.testing import MockClock

import trio_jobs
from tests.serving.place import SERVE, Door, bearer, by_token, place
from tests.serving.raw import Gone, handshake, request
from trio_jobs.serving import Caller

OPEN = ["0.0.0.0", "::", "", "192.0.2.1", "jobs.example"]  # noqa: S104  # they are to be refused
ROUTES = [
    *[("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/v1/jobs/x"), ("DELETE", "/v1/jobs/x")],
    *[
        ("GET", "/v1/jobs/x/stream"),
        ("GET", "/v1/jobs/x/history"),
        ("GET", "/v1/jobs/x/explanation"),
        ("GET", "/v1/handlers"),
        ("GET", "/v1/statistics"),
    ],
    *[("GET", "/v1/schedules"), ("POST", "/v1/schedules/pause"), ("POST", "/v1/schedules/trigger")],
    *[
        ("POST", "/v1/schedules"),
        ("GET", "/v1/limits"),
        ("POST", "/v1/limits/set"),
        ("POST", "/v1/limits/unset"),
    ],
    *[("GET", "/v1/metrics"), ("POST", "/v1/pause"), ("POST", "/v1/resume")],
]
NO_KEYS: list[dict[str, str]] = [
    *[{}, {"Authorization": "Bearer"}, {"Authorization": "Bearer ann"}, {"Authorization": "Bearer annab"}],
    *[
        {"Authorization": "Basic YW5uYTo="},
        {"Authorization": "anna"},
        {"Cookie": "token=anna"},
        {"X-Token": "anna"},
    ],
]


@pytest.mark.parametrize("host", OPEN)
async def test_an_open_door_needs_a_lock(door: Door, host: str) -> None:
    """A host that others can reach is refused without `authenticate`: ValueError, and no port is opened."""
    async with trio_jobs.open_registry() as jobs:
        with pytest.raises(ValueError, match="authenticate"):
            await SERVE[door](jobs, host=host, port=0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
async def test_loopback_needs_none(door: Door, host: str) -> None:
    """A server that only this machine can reach starts without."""
    async with trio_jobs.open_registry() as jobs, trio.open_nursery() as nursery:
        assert await nursery.start(partial(SERVE[door], jobs, host=host, port=0))
        nursery.cancel_scope.cancel()


async def test_a_locked_door_may_be_open(door: Door) -> None:
    """With `authenticate` any host is allowed."""
    async with trio_jobs.open_registry() as jobs, trio.open_nursery() as nursery:
        everywhere = partial(SERVE[door], jobs, host="0.0.0.0", port=0, authenticate=by_token)  # noqa: S104  # the claim
        assert await nursery.start(everywhere)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("headers", NO_KEYS, ids=str)
async def test_no_key_opens_nothing(door: Door, headers: dict[str, str]) -> None:
    """Without a right token every request about jobs is 401, known path or not; so is a handshake."""
    async with place(door, authenticate=by_token) as here:
        assert await here.shake(headers) == 401
        if door == "http":
            for method, path in ROUTES:
                answer = await here.http(method, path, headers, {} if method == "POST" else None)
                assert answer.status == 401, (method, path, answer)
                assert b"anna" not in answer.body
            for path in (
                "/v1/jobs?token=anna",
                "/v1/jobs?access_token=anna",
                "/v1/jobs?authorization=Bearer+anna",
            ):
                assert (await here.http("GET", path, headers)).status == 401


async def test_health_tells_nothing() -> None:
    """The one page that needs no token has no data."""
    async with place("http", authenticate=by_token) as here:
        await here.submit("wait", owner="anna")
        answer = await here.http("GET", "/healthz")
        assert answer.status == 200
        assert len(answer.body) < 40
        assert not any(character.isdigit() for character in answer.body.decode())


async def test_a_key_in_the_subprotocol(door: Door) -> None:
    """A browser's token in the list of subprotocols is read, and the server does not answer with it."""
    async with place(door, authenticate=by_token) as here:
        peer = await here.dial()
        async with peer.stream:
            asked = {"Host": here.host, "Sec-WebSocket-Protocol": "bearer.anna, trio-jobs.v1"}
            await peer.send(handshake(here.path, asked))
            answer = await peer.answer()
            assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "trio-jobs.v1")
            assert (await peer.ask("submit", handler="echo"))["job"]["owner"] == "anna"
        assert await here.shake({"Sec-WebSocket-Protocol": "trio-jobs.v1, bearer.nobody"}) == 401


async def test_keys_are_not_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """No token is in the log, right or wrong, wherever it was sent."""
    caplog.set_level(logging.DEBUG)
    async with place(door, authenticate=by_token) as here:
        for key in ("sesame-open", "root"):
            await here.shake(bearer(key))
            await here.shake({"Sec-WebSocket-Protocol": f"trio-jobs.v1, bearer.{key}"})
            if door == "http":
                await here.http("GET", "/v1/jobs", bearer(key))
    assert "sesame-open" not in caplog.text
    assert "Bearer root" not in caplog.text
    assert "bearer.root" not in caplog.text


async def briefly(headers: Mapping[str, str]) -> Caller | None:
    """Accept Anna for a moment."""
    return Caller("anna", expires=0.3)


async def test_an_old_key_closes_the_socket(door: Door, socket_clock: MockClock) -> None:
    """A connection is closed with 1008 when its caller expires, during a follow too."""
    async with place(door, authenticate=briefly) as here:
        job = await here.submit("wait", owner="anna")
        async with here.socket() as peer:
            await peer.tell(op="follow", id=1, job=job.id)
            with trio.fail_after(1.5):
                assert await peer.closed() == 1008
        await here.serves()


async def test_an_old_key_ends_the_stream(socket_clock: MockClock) -> None:
    """A stream of events ends when its caller expires, without an end of the job in it."""
    async with place("http", authenticate=briefly) as here:
        job = await here.submit("wait", owner="anna")
        peer = await here.dial()
        async with peer.stream:
            await peer.send(request("GET", f"/v1/jobs/{job.id}/stream", {"Host": here.host}))
            with trio.fail_after(1.5):
                said = (await peer.answer()).body
        assert b"event: token" in said
        assert b"[DONE]" not in said
        assert b"[CANCELLED]" not in said


class Broken(ValueError):
    """The exception of a broken `authenticate`."""


async def broken(headers: Mapping[str, str]) -> Caller | None:
    """Raise for callers with a token."""
    if "authorization" in headers:
        raise Broken("the password of the database is hunter2")
    return Caller(None)


async def nonsense(headers: Mapping[str, str]) -> Caller | None:
    """Return a value that is no caller for those with a token."""
    return "anna" if "authorization" in headers else Caller(None)  # type: ignore[return-value]


async def refusing(headers: Mapping[str, str]) -> Caller | None:
    """Raise an error that stands for a client's mistake elsewhere."""
    if "authorization" in headers:
        raise trio_jobs.UnknownJob("hunter2")
    return Caller(None)


@pytest.mark.parametrize("authenticate", [broken, nonsense, refusing])
async def test_a_broken_lock_is_locked(
    door: Door, authenticate: object, caplog: pytest.LogCaptureFixture
) -> None:
    """An `authenticate` that raises or returns a wrong value refuses everyone; the server goes on."""
    async with place(door, authenticate=authenticate) as here:
        peer = await here.dial()
        async with peer.stream:
            await peer.send(handshake(here.path, {"Host": here.host, **bearer("anna")}))
            try:
                answer = await peer.answer()
            except Gone:
                pass
            else:
                assert answer.status >= 500
                assert b"hunter2" not in answer.body
        if door == "http":
            answer = await here.http("GET", "/v1/jobs", bearer("anna"))
            assert answer.status == 500
            assert b"hunter2" not in answer.body
            assert answer.json["code"] == "internal"
        await here.serves()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR], (
        "it is nowhere to be seen"
    )
