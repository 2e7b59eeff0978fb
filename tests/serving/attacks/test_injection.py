"""Text that imitates something else: a line of the log, an event of a stream, a header, a stack."""

from __future__ import annotations

import json
import logging
from typing import NamedTuple

import pytest
import trio
from trio.testing import MockClock

from tests.serving.place import Door, Place, bearer, by_token, place
from tests.serving.raw import Answer, Gone, Peer, handshake, request

FORGED = "x\nCRITICAL forged: all is well\r\n\x1b[2J\x1b]0;title\x07\x9b31m\u2028\u2029\x85\x00"
TRICKS = [
    *[
        "[DONE]",
        "",
        " ",
        "a\nevent: completed\ndata: [DONE]\n\n",
        "\r\n\r\nid: 99\r\n",
        "\r",
        "\n",
        "data: x",
    ],
    *[
        "\u2028",
        "\u2029",
        "\x85",
        "\x0b\x0c\x1c\x1e",
        "</script><script>alert(1)</script>",
        "\ufeff",
        ": comment",
    ],
    *["id: 3\nretry: 1\n", "event: failed", "\\n", "\x1b[2J", "\U0001f600"],
]


class Said(NamedTuple):
    """A server-sent event."""

    kind: str
    data: str
    last_id: str


def heard(body: bytes) -> list[Said]:
    """Parse server-sent events by the standard: a line ends with CR LF, LF or CR, an event with an empty
    line."""
    text = body.decode().replace("\r\n", "\n").replace("\r", "\n")
    found: list[Said] = []
    data: list[str] = []
    kind = last_id = ""
    for line in text.split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append(Said(kind or "message", "\n".join(data), last_id))
            kind, data = "", []
        elif field == "event":
            kind = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last_id = value
    return found


async def stream(here: Place, job: str, headers: dict[str, str] | None = None) -> list[Said]:
    """Follow a job to its end."""
    answer = await here.http("GET", f"/v1/jobs/{job}/stream", headers)
    assert answer.headers["content-type"].startswith("text/event-stream"), answer
    return heard(answer.body)


async def test_tokens_are_tokens() -> None:
    """A stream returns any token unchanged, as a token, under the right cursor."""
    async with place("http") as here:
        job = await here.submit("echo", *TRICKS)
        said = await stream(here, job.id)
        assert [json.loads(one.data) for one in said if one.kind == "token"] == TRICKS
        assert [one.last_id for one in said] == [str(seq) for seq in range(1, len(said) + 1)]
        assert [one.data for one in said if one.kind == "completed"] == ["[DONE]"]


@pytest.mark.parametrize("message", [*TRICKS, "x\n\nevent: completed\ndata: [DONE]\n\n"], ids=repr)
async def test_errors_are_errors(message: str) -> None:
    """For any error text a stream has one end, `failed`, and starts with `[ERROR]`."""
    async with place("http") as here:
        job = await here.submit("fail", message)
        said = await stream(here, job.id)
        assert [one.kind for one in said] == ["submitted", "started", "failed"], said
        assert said[-1].data.startswith("[ERROR]")


@pytest.mark.parametrize("reason", TRICKS[1:], ids=repr)
async def test_reasons_are_reasons(door: Door, reason: str) -> None:
    """Any reason of a cancellation stays a text in its place."""
    async with place(door) as here:
        job = await here.submit("wait")
        async with here.socket() as peer:
            answer = await peer.ask("cancel", job=job.id, reason=reason)
            if "error" in answer:
                assert answer["error"]["code"] in {"bad_request", "invalid_payload"}
                return
            assert (await peer.ask("get", job=job.id))["job"]["message"] == reason
        if door == "http":
            said = await stream(here, job.id)
            assert said[-1].kind == "cancelled"
            assert [one.data for one in said if one.kind == "cancelled"] == ["[CANCELLED]"]


async def bother(here: Place) -> None:
    """Send the forged line as each text of a request."""
    async with here.socket() as peer:
        for op in ("submit", "get", "follow", "find", "cancel", "nothing", FORGED):
            for field in ("handler", "job", "reason", "state", "tags", "options", "args", FORGED):
                await peer.ask(op, 1, **{field: FORGED})
                await peer.ask("ping", 2)  # or it were too many faults in a row
        await peer.ask("submit", 2, handler="fail", args=[FORGED], options={"tags": {"a": FORGED[:-1]}})
        await peer.ask("submit", 3, handler="fail", args=[FORGED[:-1]])
        await peer.tell(op=FORGED)
    latin = FORGED.encode("utf-8").decode("latin-1")
    for header in (
        "Origin",
        "Host",
        "User-Agent",
        "Authorization",
        "Sec-WebSocket-Protocol",
        "Last-Event-ID",
        "X",
    ):
        for text in (latin, latin.replace("\r", "").replace("\n", "").replace("\0", ""), "\x1b[2J\x9b"):
            for start in (
                handshake(here.path, {"Host": here.host}),
                request("GET", "/v1/jobs", {"Host": here.host}),
            ):
                peer = await here.dial()
                async with peer.stream:
                    first, _, rest = start.partition(b"\r\n")
                    await peer.send(first + b"\r\n" + f"{header}: {text}\r\n".encode("latin-1") + rest)
                    try:
                        await peer.answer()
                    except Gone:
                        pass
    for path in (
        "/%0aCRITICAL%20forged",
        "/\x1b[2J",
        "/v1/jobs/%0d%0aforged%1b%5b2J",
        "/v1/jobs?state=%0aforged",
    ):
        peer = await here.dial()
        async with peer.stream:
            await peer.send(request("GET", path, {"Host": here.host}))
            try:
                await peer.answer()
            except Gone:
                pass


async def test_the_log_has_one_line_for_each_record(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """No text of a client's begins a line of the log, moves its cursor or colours it."""
    caplog.set_level(logging.DEBUG)
    async with place(door) as here:
        await bother(here)
        await here.serves()
    for record in caplog.records:
        if not record.name.startswith("trio_jobs"):
            continue
        text = record.getMessage()
        lines = text.split("\n")  # those behind the first are a traceback, each with a mark before it
        assert all(line.isprintable() for line in lines), (record.name, text)
        assert all(line.startswith("  | ") for line in lines[1:]), (record.name, text)
        shown = logging.Formatter().format(record)
        assert "\x1b" not in shown, (record.name, shown)
        assert "\nCRITICAL" not in shown, (record.name, shown)


@pytest.mark.parametrize(
    "header", ["Connection: Upgrade, \xff", "Sec-WebSocket-Protocol: \xff", "X: \xff", "\xff: x"]
)
async def test_the_log_is_no_place_for_others_faults(
    door: Door, header: str, caplog: pytest.LogCaptureFixture, socket_clock: MockClock
) -> None:
    """Headers that are no ASCII end their connection without a traceback; so do those of a later request."""
    async with place(door) as here:
        for first in (b"", request("GET", "/healthz", {"Host": here.host})) if door == "http" else (b"",):
            start, _, rest = handshake(here.path, {"Host": here.host}).partition(b"\r\n")
            peer = await here.dial()
            async with peer.stream:
                await peer.send(first + b"\r\n".join([start, header.encode("latin-1"), rest]))
                with trio.move_on_after(1):
                    await peer.rest()
        await here.serves()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_no_header_is_added() -> None:
    """No text of a client's becomes a header of the answer."""
    async with place("http") as here:
        for path in (
            "/v1/jobs/%0d%0aX-Forged:%20yes",
            "/%0d%0aX-Forged:%20yes",
            "//evil.example/..",
            "/v1/jobs/",
        ):
            answer = await here.http("GET", path)
            assert "x-forged" not in answer.headers
            assert "evil.example" not in answer.headers.get("location", "")


async def all_about(here: Place, peer: Peer, job: str) -> list[object]:
    """Request everything about a job."""
    told: list[object] = [await peer.ask(op, 1, job=job) for op in ("get", "history", "wait")]
    told.append(await peer.ask("find", 1))
    await peer.tell(op="follow", id=2, job=job)
    while "end" not in (got := await peer.message()):
        told.append(got)
    if here.door == "http":
        for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/history", f"/v1/jobs/{job}/stream", "/v1/jobs"):
            answer: Answer = await here.http("GET", path, bearer("anna"))
            assert answer.status == 200
            told.append(answer.body.decode())
    return told


async def test_no_stack_leaves_the_server(door: Door) -> None:
    """The owner of a failed job reads the error, and no traceback, path or source."""
    async with place(door, authenticate=by_token) as here:
        job = await here.submit("fail", "oops", owner="anna")
        await job.wait()
        async with here.socket(bearer("anna")) as peer:
            told = json.dumps(await all_about(here, peer, job.id))
    assert "oops" in told
    for secret in ("Traceback", "place.py", "raise ValueError", "site-packages", 'File \\"'):
        assert secret not in told, secret
