"""Messages that are JSON and no requests, or no JSON: each gets an error, none a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.serving.place import Door, place
from tests.serving.raw import TEXT, frame, request

DEEP = "[" * 20_000 + "]" * 20_000
SLOW = '["slow",' + "[" * 40 + '"' + '\\"' * 100_000
"""To an expression that looks for the ends of texts, each of these quotes may begin one."""

NO_REQUEST = [
    *[
        "",
        " ",
        "null",
        "true",
        "1",
        '"text"',
        "[]",
        "{}",
        "{",
        "}",
        "[",
        "nul",
        "\ufeff{}",
        "{}{}",
        "{'op': 'ping'}",
    ],
    *[SLOW, DEEP, '{"a":' * 20_000 + "1" + "}" * 20_000, '{"op": "ping", "id": 1, "x": ' + DEEP + "}"],
    *[
        '{"op": "ping"}',
        '{"id": 1}',
        '{"op": null, "id": 1}',
        '{"op": "drop", "id": 1}',
        '{"op": ["ping"], "id": 1}',
    ],
    *['{"op": "__class__", "id": 1}', '{"op": "submit\\u0000", "id": 1}', '{"op": "PING", "id": 1}'],
]
NO_ID = ["0", "-1", "1.5", '"1"', "true", "null", "[1]", "{}", "1e400", "NaN", "9" * 5000, "-0"]

VALUES: list[Any] = [
    *[
        None,
        True,
        -1,
        0,
        1.5,
        10**30,
        "",
        "x",
        "\x00",
        "\ud800",
        "a" * 100_000,
        "../../etc/passwd",
        "'; DROP TABLE jobs",
    ],
    *[[], [[]], {}, {"a": {}}, ["x", None], {"__class__": "x"}, {"": ""}, [1] * 1000],
]
FIELDS: list[tuple[str, str]] = [
    *[("submit", field) for field in ("handler", "args", "options")],
    *[("find", field) for field in ("state", "tags", "handler", "parent", "limit", "newest")],
    *[("cancel", field) for field in ("job", "reason", "grace", "patience", "wait")],
    *[("follow", field) for field in ("job", "after", "policy", "window")],
    *[("get", "job"), ("history", "job"), ("wait", "job"), ("ack", "cursor"), ("unfollow", "job")],
]
OPTIONS = [
    *[
        "timeout",
        "timeouts",
        "retry",
        "priority",
        "delay",
        "run_at",
        "tags",
        "metadata",
        "key",
        "when_unread",
    ],
    *["linger", "owner", "nothing", "__init__"],
]
HUGE = ["1e400", "-1e400", "NaN", "Infinity", "9" * 400, "9" * 5000, "1e-400", "-0.0"]
CODES = {
    "bad_request",
    "invalid_payload",
    "unknown_job",
    "unknown_handler",
    "too_many",
    "stream_gap",
    "forbidden",
}


@pytest.mark.parametrize("text", NO_REQUEST, ids=lambda text: repr(text[:30]))
async def test_no_request(door: Door, text: str) -> None:
    """A message that is no request gets the reply `bad_request`, and the connection stays."""
    async with place(door) as here, here.socket() as peer:
        await peer.send(frame(TEXT, text.encode()))
        assert (await peer.message())["error"]["code"] == "bad_request"
        assert await peer.ask("ping", 7) == {"re": 7, "pong": True}
        if door == "http" and text:
            connection = await here.dial()
            async with connection.stream:
                await connection.send(request("POST", "/v1/jobs", {"Host": here.host}, text.encode()))
                assert 400 <= (await connection.answer()).status < 500


@pytest.mark.parametrize("written", NO_ID, ids=lambda text: text[:10])
async def test_no_id(door: Door, written: str) -> None:
    """An id that is no whole number from 1 on is a `bad_request`, with null in place of the id."""
    async with place(door) as here, here.socket() as peer:
        await peer.send(frame(TEXT, f'{{"op": "ping", "id": {written}}}'.encode()))
        answer = await peer.message()
        assert answer["error"]["code"] == "bad_request", answer
        assert answer["re"] is None, answer
        assert await peer.ask("ping", 7) == {"re": 7, "pong": True}


async def test_an_id_in_use(door: Door) -> None:
    """An id whose request is unfinished cannot be used again."""
    async with place(door) as here, here.socket() as peer:
        job = (await here.submit("wait")).id
        await peer.tell(op="wait", id=5, job=job)
        await peer.tell(op="get", id=5, job=job)
        assert (await peer.message())["error"]["code"] == "bad_request"
        await here.jobs.cancel(job)
        assert (await peer.message())["job"]["state"] == "cancelled"


async def test_many_that_are_none(door: Door) -> None:
    """An endless series of bad messages closes the connection with 1008; others stay."""
    async with place(door) as here, here.socket() as peer:
        for _ in range(10_000):
            try:
                await peer.stream.send_all(frame(TEXT, b"{}"))
            except Exception:  # noqa: BLE001  # however it ends
                break
        assert await peer.closed() in {1008, 1006}
        await here.serves()


@pytest.mark.parametrize(("op", "field"), FIELDS)
async def test_wrong_types(door: Door, op: str, field: str) -> None:
    """Whatever a field is, the reply is an error that says so, or the answer: never `internal`."""
    async with place(door) as here, here.socket() as peer:
        job = (await here.submit("echo")).id
        for number, value in enumerate(VALUES, 10):
            given = {"handler": "echo"} if op == "submit" else {} if op == "find" else {"job": job}
            await peer.tell(**{"op": op, "id": number, **given, field: value})
            await peer.tell(op="ping", id=5)
            while (answer := await peer.message())["re"] != 5:
                assert answer.get("error", {"code": "bad_request"})["code"] in CODES, (value, answer)
        await here.serves()


@pytest.mark.parametrize("option", OPTIONS)
async def test_wrong_options(door: Door, option: str) -> None:
    """Whatever an option is, the job is refused with a code that says so, or accepted: never `internal`."""
    async with place(door, capacity=0) as here, here.socket() as peer:
        for number, value in enumerate(VALUES, 10):
            answer = await peer.ask("submit", number, handler="echo", options={option: value})
            assert "job" in answer or answer["error"]["code"] in CODES, (value, answer)
            await peer.ask("ping")  # or it were too many faults in a row
            if door == "http":
                body = {"handler": "echo", "options": {option: value}}
                assert (await here.http("POST", "/v1/jobs", None, body)).status < 500, value


@pytest.mark.parametrize("number", HUGE)
async def test_huge_numbers(door: Door, number: str) -> None:
    """Numbers that are NaN or too large for a float are refused everywhere, or have a meaning."""
    async with place(door, capacity=0) as here, here.socket() as peer:
        for text in (
            f'{{"op": "submit", "id": 1, "handler": "flood", "args": [{number}, 1]}}',
            f'{{"op": "submit", "id": 1, "handler": "echo", "options": {{"timeout": {number}}}}}',
            f'{{"op": "submit", "id": 1, "handler": "echo", "options": {{"delay": {number}}}}}',
            f'{{"op": "submit", "id": 1, "handler": "echo", "options": {{"metadata": {{"a": {number}}}}}}}',
            f'{{"op": "find", "id": 1, "limit": {number}}}',
            f'{{"op": "follow", "id": 1, "job": "{"0" * 32}", "after": {number}}}',
        ):
            await peer.send(frame(TEXT, text.encode()))
            answer = await peer.message()
            assert "job" in answer or answer["error"]["code"] in CODES, (text, answer)
        await here.serves()
        if door == "http":
            for query in ("after", "limit", "grace", "patience"):
                for method, path in (
                    ("GET", "/v1/jobs"),
                    ("DELETE", "/v1/jobs/0"),
                    ("GET", "/v1/jobs/0/stream"),
                ):
                    answer = await here.http(method, f"{path}?{query}={number}")
                    assert answer.status < 500, (query, answer)


async def test_an_argument_of_any_depth(door: Door) -> None:
    """Arguments up to `limits.depth` are accepted, and deeper ones refused with a code."""
    async with place(door) as here, here.socket() as peer:
        for depth, code in ((20, None), (1000, "bad_request"), (15_000, "bad_request")):
            nested = "[" * depth + "]" * depth
            options = f'{{"metadata": {{"a": {nested}}}}}'
            text = f'{{"op": "submit", "id": 1, "handler": "wait", "options": {options}}}'
            await peer.send(frame(TEXT, text.encode()))
            answer = await peer.message()
            assert answer.get("error", {}).get("code") == code, answer


async def test_fields_twice(door: Door) -> None:
    """A field that is given twice counts once, alike for all checks: no job is made of the other."""
    async with place(door, capacity=0) as here, here.socket() as peer:
        await peer.send(
            frame(TEXT, b'{"op": "ping", "id": 1, "op": "submit", "handler": "echo", "handler": "fail"}')
        )
        answer = await peer.message()
        assert answer["re"] == 1 or answer["error"]["code"] == "bad_request"
        assert len(await here.jobs.find()) == ("job" in answer)


async def test_text_that_no_store_keeps(door: Door) -> None:
    """NUL and lone surrogates are refused with a code in every text of a request."""
    async with place(door, capacity=0) as here, here.socket() as peer:
        for bad in ("\x00", "a\x00b", "\ud800", "\udfff\ud800"):
            places: list[dict[str, Any]] = [
                {"handler": bad},
                {"handler": "echo", "args": [bad]},
                {"handler": "echo", "options": {"key": bad}},
                {"handler": "echo", "options": {"tags": {bad: "x"}}},
                {"handler": "echo", "options": {"tags": {"x": bad}}},
                {"handler": "echo", "options": {"metadata": {"x": [bad]}}},
            ]
            for number, given in enumerate(places, 10):
                answer = await peer.ask("submit", number, **given)
                assert answer["error"]["code"] in CODES, (given, answer)
                await peer.ask("ping")
        assert not await here.jobs.find()


async def test_one_odd_job_hides_no_other(door: Door) -> None:
    """A job whose result JSON cannot hold is listed without it, beside the others, with a note."""
    async with place(door) as here, here.socket() as peer:
        for what in ("object", "nul", "nan"):
            await (await here.submit("odd", what)).wait()
        await (await here.submit("echo")).wait()
        jobs = (await peer.ask("find", 1))["jobs"]
        assert sorted(str(job["result"]) for job in jobs) == ["None", "None", "None", "done"]
        assert [job["handler"] for job in jobs if job["message"]] == ["odd"] * 3
        listed = [(await peer.ask("list", 1))["jobs"]]
        if door == "http":
            listed.append((await here.http("GET", "/v1/jobs")).json["jobs"])
        for jobs in listed:
            assert [job["handler"] for job in jobs] == ["odd"] * 3 + ["echo"]


async def test_errors_are_problems() -> None:
    """An error over HTTP is application/problem+json with its members."""
    async with place("http") as here:
        for method, path, body in (
            ("GET", "/v1/jobs/" + "0" * 32, None),
            ("GET", "/nothing", None),
            ("PUT", "/v1/jobs", {"handler": "echo"}),
            ("POST", "/v1/jobs", {"handler": "nothing"}),
            ("POST", "/v1/jobs", [json.dumps({"handler": "echo"})]),
        ):
            answer = await here.http(method, path, None, body)
            assert answer.headers["content-type"].startswith("application/problem+json"), (
                method,
                path,
                answer,
            )
            assert {"type", "title", "status", "code"} <= answer.json.keys()
            assert answer.json["status"] == answer.status
