"""A page of another site in the user's browser cannot change or read anything, nor rename this server."""

from __future__ import annotations

import json

import pytest

from tests.serving.place import Door, Place, place
from tests.serving.raw import Gone, handshake, request

EVIL = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://127.0.0.1@evil.example"},
    {"Origin": "file://"},
    {"Origin": "not an origin"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"},
]

FOREIGN_HOSTS = [
    *[
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.localhost.example",
    ],
    *[
        "127.0.0.1@evil.example",
        "evil.example#127.0.0.1",
        "evil.example/127.0.0.1",
        "0x7f.1.evil",
        "*",
        "[::2]",
        "[::1",
    ],
    *["127.0.0.1:port", "10.0.0.1", "169.254.169.254", "0.0.0.0"],  # noqa: S104  # it is to be refused
]
OWN_HOSTS = ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:8000", "127.0.0.1:8000"]


async def waiting(here: Place) -> str:
    """Submit a job that an attacker might cancel."""
    handle = await here.submit("wait")
    return handle.id


@pytest.mark.parametrize("headers", EVIL, ids=str)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_no_method_that_changes_is_open_to_other_sites(method: str, headers: dict[str, str]) -> None:
    """Every method but GET, HEAD and OPTIONS is 403 for another site's page, and changes nothing."""
    async with place("http") as here:
        job_id = await waiting(here)
        body = {"handler": "echo", "args": []}
        for path in ("/v1/jobs", f"/v1/jobs/{job_id}"):
            answer = await here.http(method, path, headers, body)
            assert answer.status == 403, (path, answer)
        assert (await here.http(method, f"/v1/jobs/{job_id}", headers)).status == 403
        (job,) = await here.jobs.find()
        assert job.cancel_requested_at is None


@pytest.mark.parametrize("headers", EVIL, ids=str)
async def test_other_sites_open_no_websocket(door: Door, headers: dict[str, str]) -> None:
    """A handshake from another site's page is 403."""
    async with place(door) as here:
        assert await here.shake(headers) == 403
        await here.serves()


async def test_an_own_page_may(door: Door) -> None:
    """The server's own page, a page of an allowed origin and a program without an Origin are accepted."""
    async with place(door, origins=["https://app.example"]) as here:
        for headers in ({"Origin": here.origin}, {"Origin": "https://app.example"}, {}):
            assert await here.shake(headers) == 101, headers
            if door == "http":
                answer = await here.http("POST", "/v1/jobs", headers, {"handler": "echo"})
                assert answer.status == 202, (headers, answer)
        assert await here.shake({"Origin": "https://app.example.evil.example"}) == 403
        assert await here.shake({"Origin": "http://app.example"}) == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_a_form_submits_nothing(kind: str) -> None:
    """A body that a form can send without a preflight, or without a type, is refused: 415, no job."""
    async with place("http") as here:
        answer = await here.http("POST", "/v1/jobs", {"Content-Type": kind}, {"handler": "echo"})
        assert answer.status == 415, answer
        assert not await here.jobs.find()


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_other_sites_read_nothing(method: str) -> None:
    """No answer allows a browser to show it to another site."""
    async with place("http") as here:
        job_id = await waiting(here)
        asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"}
        for path in ("/v1/jobs", f"/v1/jobs/{job_id}", "/openapi.json", "/healthz"):
            answer = await here.http(method, path, asked)
            assert not [name for name in answer.headers if name.startswith("access-control-")], answer


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_no_other_name_leads_here(door: Door, host: str) -> None:
    """A Host that is not allowed is refused everywhere (DNS rebinding)."""
    async with place(door) as here:
        if door == "http":
            for path in (
                "/",
                "/v1/jobs",
                "/v1/handlers",
                "/v1/metrics",
                "/openapi.json",
                "/nothing",
            ):
                assert 400 <= (await here.http("GET", path, {"Host": host})).status < 500, path
            probe = await here.http("GET", "/healthz", {"Host": host})
            assert (probe.status, probe.body) == (200, b"ok\n"), "it says nothing that is worth a name"
            answer = await here.http("POST", "/v1/jobs", {"Host": host}, {"handler": "echo"})
            assert 400 <= answer.status < 500, answer
        # The page's own origin fits the foreign name: the browser thinks that it is at home.
        assert 400 <= await here.shake({"Host": host, "Origin": f"http://{host}"}) < 500
        assert not await here.jobs.find()
        await here.serves()


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_loopback_names_lead_here(door: Door, host: str) -> None:
    """This machine's own names are allowed with any port, as a tunnel has another."""
    async with place(door) as here:
        assert await here.shake({"Host": host}) == 101


async def test_an_allowed_name_leads_here(door: Door) -> None:
    """A name from `hosts` is allowed in any case, and similar names are not."""
    async with place(door, hosts=["jobs.example"]) as here:
        assert await here.shake({"Host": "jobs.example"}) == 101
        assert await here.shake({"Host": "JOBS.example:443"}) == 101
        assert 400 <= await here.shake({"Host": "x.jobs.example"}) < 500


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="none"),
        pytest.param(["Host: 127.0.0.1", "Host: evil.example"], id="two"),
        pytest.param(["Host: evil.example", "Host: 127.0.0.1"], id="two, the good one last"),
        pytest.param(["Host: 127.0.0.1, evil.example"], id="a list"),
        pytest.param(["Host:"], id="empty"),
        pytest.param(["X-Forwarded-Host: 127.0.0.1", "Host: evil.example"], id="forwarded"),
        pytest.param(["Forwarded: host=127.0.0.1", "Host: evil.example"], id="forwarded, the new way"),
    ],
)
async def test_a_host_is_said_once(door: Door, lines: list[str]) -> None:
    """No Host, two, or one from a proxy header are refused, on requests and handshakes."""
    async with place(door) as here:
        plain = [request("GET", "/v1/jobs", {"Host": ""})] if door == "http" else []
        for written in [*plain, handshake(here.path, {"Host": ""})]:
            first, _, rest = written.partition(b"\r\n")
            peer = await here.dial()
            async with peer.stream:
                await peer.send(b"\r\n".join([first, *(line.encode() for line in lines), rest]))
                try:
                    assert 400 <= (await peer.answer()).status < 500
                except Gone:
                    pass  # hung up on is refused as well
        await here.serves()


async def test_a_sockets_message_is_no_way_round(door: Door) -> None:
    """An HTTP request within another protocol's bytes, as pages smuggle them, submits nothing."""
    async with place(door) as here:
        peer = await here.dial()
        async with peer.stream:
            inner = request("POST", "/v1/jobs", {"Host": here.host}, json.dumps({"handler": "echo"}).encode())
            await peer.send(b"EHLO evil.example\r\n" + inner)
            await peer.rest()
        assert not await here.jobs.find()
        await here.serves()
