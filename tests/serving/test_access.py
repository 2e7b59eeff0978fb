"""Access control: hosts, sites, callers and limits."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from trio_jobs.serving.access import AccessControl, name_of
from trio_jobs.serving.limits import Limits
from trio_jobs.serving.options import ANYBODY, Authenticate, Caller, ServerOptions
from trio_jobs.serving.problems import Refused


def gate(
    authenticate: Authenticate | None = None,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    limits: Limits | None = None,
) -> AccessControl:
    options = ServerOptions(
        authenticate=authenticate, hosts=hosts, origins=origins, limits=limits or Limits()
    )
    return AccessControl(options)


def passes(gate: AccessControl, method: str, headers: Mapping[str, str], *, websocket: bool = False) -> bool:
    try:
        gate.check(method, headers, websocket=websocket)
    except Refused as refused:
        assert refused.code in {"misdirected", "forbidden"}
        return False
    return True


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:8000", "localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("", ""),
        # What is no `Host` has no name that another has.
        (":80", ":80"),
        ("80", "80"),
        ("[]:80", "[]:80"),
        ("[localhost]:80", "[localhost]:80"),
        ("[::1:80", "[::1:80"),
        ("a@localhost:80", "a@localhost:80"),
        ("localhost :80", "localhost :80"),
        ("evil localhost:80", "evil localhost:80"),
        ("localhost:8o", "localhost:8o"),
    ],
)
def test_the_name_in_a_host(host: str, name: str) -> None:
    """The name of a `Host` has no port and no brackets; that of a wrong `Host` is all of it."""
    assert name_of(host) == name


@pytest.mark.parametrize(
    ("hosts", "host", "ours"),
    [
        ((), "127.0.0.1:8000", True),
        ((), "localhost", True),
        ((), "[::1]:8000", True),
        ((), "evil.example", False),
        ((), "localhost.evil.example:8000", False),
        ((), "", False),
        (("jobs.example",), "jobs.example:443", True),
        (("Jobs.Example:443",), "jobs.example", True),
        (("jobs.example",), "evil.example", False),
        (("*",), "evil.example", True),
    ],
)
def test_hosts(hosts: tuple[str, ...], host: str, ours: bool) -> None:
    """Only the server's own names are accepted, for reading too: that prevents DNS rebinding."""
    assert passes(gate(hosts=hosts), "GET", {"host": host}) is ours


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "MADEUP"])
@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({}, True),  # a program, not a browser
        ({"origin": "http://localhost:8000"}, True),
        ({"origin": "http://LOCALHOST:8000"}, True),
        ({"origin": "https://friend.example"}, True),
        ({"origin": "http://friend.example"}, False),
        ({"origin": "http://localhost:9000"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://evil.example://localhost:8000"}, False),
        ({"origin": "http://localhost:8000", "host": "LOCALHOST:8000"}, True),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
    ],
)
def test_other_sites(method: str, headers: dict[str, str], ours: bool) -> None:
    """A page of another site can change nothing, by any method, and open no WebSocket."""
    door = gate(origins=("https://friend.example/",))
    headers = {"host": "localhost:8000", **headers}
    assert passes(door, method, headers) is ours
    assert passes(door, "GET", headers, websocket=True) is ours
    for safe in ("GET", "HEAD", "OPTIONS"):
        door.check(safe, headers)  # the browser keeps what it reads from the page


def test_lists_are_not_texts() -> None:
    """A text in place of a list of names, which would be read letter by letter, is refused."""
    with pytest.raises(TypeError, match="hosts takes a list"):
        gate(hosts="jobs.example")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="origins takes a list"):
        gate(origins="https://friend.example")  # type: ignore[arg-type]


@pytest.mark.parametrize(("hosts", "ours"), [((), False), (("x",), False), (("*",), True)])
def test_no_host(hosts: tuple[str, ...], ours: bool) -> None:
    """A request without a `Host` has no name, and is not from our page."""
    assert passes(gate(hosts=hosts), "GET", {}) is ours
    assert passes(gate(hosts=hosts), "POST", {}) is ours
    for origin in ("", "http://", "http://x"):
        assert not passes(gate(hosts=hosts), "POST", {"origin": origin})


async def test_without_authentication() -> None:
    """Without `authenticate`, every client is the one caller with all rights."""
    assert await gate().caller({}) is ANYBODY


async def test_authentication() -> None:
    """`authenticate` gets the headers, with a browser's token; if it returns None, the answer is 401."""
    seen: list[Mapping[str, str]] = []

    async def authenticate(headers: Mapping[str, str]) -> Caller | None:
        seen.append(headers)
        return Caller("ann") if headers.get("authorization") == "Bearer t0ken" else None

    door = gate(authenticate)
    assert await door.caller({"authorization": "Bearer t0ken"}) == Caller("ann")
    offered = "trio-jobs.v1, bearer.t0ken"
    assert await door.caller({"sec-websocket-protocol": offered}) == Caller("ann")
    for headers in (
        {},
        {"authorization": "Bearer other"},
        {"authorization": "Basic x", "sec-websocket-protocol": offered},  # what is said outright counts
    ):
        with pytest.raises(Refused) as refused:
            await door.caller(headers)
        assert refused.value.code == "unauthenticated"
        assert refused.value.headers == {"www-authenticate": "Bearer"}
    assert len(seen) == 5
    assert seen[1] == {"sec-websocket-protocol": offered, "authorization": "Bearer t0ken"}


@pytest.mark.parametrize("origin", ["https://friend.example", "https://friend.example/"])
def test_a_friend_is_named_without_a_path(origin: str) -> None:
    """An origin may be given with the slash that browsers show and do not send."""
    door = gate(origins=(origin,))
    assert door.origins == {"https://friend.example"}


async def test_authentication_that_fails() -> None:
    """An exception of `authenticate`, or a result that is no caller, is an error of the server."""
    wrong = KeyError("the password")

    async def failing(_: Mapping[str, str]) -> Caller | None:
        raise wrong

    with pytest.raises(RuntimeError, match="authenticate failed") as caught:
        await gate(failing).caller({})
    assert caught.value.__cause__ is wrong

    async def confused(_: Mapping[str, str]) -> Caller | None:
        return "ann"  # type: ignore[return-value]

    with pytest.raises(RuntimeError, match="returns a Caller or None; got 'ann'"):
        await gate(confused).caller({})


def test_seats() -> None:
    """Requests are limited per client and in all; the end of one makes room, however it ends."""
    door = gate(limits=Limits(connections=3, per_client=2))
    with door.seat("a"), door.seat("a"):
        with pytest.raises(Refused, match="too many"), door.seat("a"):
            pass
        with door.seat("b"), pytest.raises(Refused, match="too many"), door.seat("c"):
            pass
        with pytest.raises(ZeroDivisionError), door.seat("c"):
            raise ZeroDivisionError
        with door.seat("c"):
            pass
    with door.seat("a"):
        with door.seat("a"):
            pass
        with door.seat("a"), pytest.raises(Refused, match="too many"), door.seat("a"):
            pass
    with pytest.raises(Refused, match="too many"), door.seat("a", crowded=True):
        pass
    assert not door.seats.by_client
    assert door.seats.total == 0
