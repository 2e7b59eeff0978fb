"""Every endpoint over a real socket: its answers, its refusals, and their texts."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import trio

from tests.serving.served import Site, served, stubborn_job
from trio_jobs import JobContext, Retry, StoreUnavailable, handler
from trio_jobs.serving import Caller, Limits, http_app
from trio_jobs.serving.http import app

CALLERS = {"root": Caller(None), "ann": Caller("ann"), "bob": Caller("bob")}
NEW = {"handler": "count", "args": [2]}


async def by_token(headers: Mapping[str, str]) -> Caller | None:
    """Authenticate the name in the header."""
    return CALLERS.get(headers.get("authorization", "").removeprefix("Bearer "))


def as_(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}"}


def refused(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Return the problem of an answer, after checks that hold for each."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, "about:blank")
    assert problem["title"]
    assert problem["detail"]
    assert ("retry-after" in answer.headers) is (status in {429, 503})
    return problem


async def ended(site: Site, job_id: str) -> None:
    await (await site.jobs.get(job_id)).wait()


# ------------------------------------------------------------ submitting


async def test_a_job_is_submitted_and_looked_up() -> None:
    """The answer to a submission has the job's id and addresses, and its record can be read."""
    async with served() as site:
        answer = await site.http.post("/v1/jobs", json={**NEW, "options": {"tags": {"a": "1"}}})
        job_id = answer.json()["job_id"]
        assert answer.status_code == 202
        assert answer.json() == {
            "job_id": job_id,
            "sse_url": f"{site.url}/v1/jobs/{job_id}/stream",
            "ws_url": f"{site.url.replace('http', 'ws')}/v1/ws",
        }
        assert answer.headers["location"] == f"{site.url}/v1/jobs/{job_id}"
        await ended(site, job_id)
        job = (await site.http.get(answer.headers["location"])).json()
        assert (job["id"], job["state"], job["result"], job["tags"]) == (job_id, "completed", 2, {"a": "1"})


def charges(**mark: Any) -> Any:
    """Return a handler of one name, of this release or the next."""

    @handler(name="charge", **mark)
    async def charge(job: JobContext[Any], cents: int) -> int:
        return cents

    return charge


async def test_a_key_is_as_good_after_a_deploy(tmp_path: Path) -> None:
    """Under a key the client's own fields are compared, not the options of the handler's mark; also for a
    part of a retry, whose errors the handler defines. 5 seconds equal 5.0."""
    file = {"store": f"sqlite:///{tmp_path}/jobs.db", "capacity": 0}
    releases = [
        charges(timeout=9, retry=Retry(attempts=2)),
        charges(timeout=1, retry=Retry(attempts=7, on=ConnectionError)),
    ]
    jobs = list[list[str]]()
    for release, seconds in zip(releases, (5, 5.0), strict=True):
        async with served([release], registry=file) as site:
            given: list[dict[str, Any]] = [{}, {"retry": {"initial": seconds}}, {"timeout": seconds}]
            jobs.append([await site.submit("charge", 17, key=str(n), **one) for n, one in enumerate(given)])
            body = {"handler": "charge", "args": [17], "options": {"key": "1", "retry": {"initial": 6}}}
            refused(await site.http.post("/v1/jobs", json=body), 409, "key_conflict")
    assert jobs[0] == jobs[1]


async def test_a_key_submits_once() -> None:
    """The same key with the same body is the same job; with another body, a conflict that names it."""
    async with served() as site:
        key = {"idempotency-key": "k"}
        first = await site.http.post("/v1/jobs", json=NEW, headers=key)
        again = await site.http.post("/v1/jobs", json=NEW, headers=key)
        inside = await site.http.post("/v1/jobs", json={**NEW, "options": {"key": "k"}})
        assert first.json() == again.json() == inside.json()
        assert await site.jobs.count() == 1
        problem = refused(
            await site.http.post("/v1/jobs", json={**NEW, "args": [3]}, headers=key), 409, "key_conflict"
        )
        assert (problem["key"], problem["job_id"]) == ("k", first.json()["job_id"])


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        ({**NEW, "handler": "nobody"}, {}, 422, "unknown_handler"),
        ({**NEW, "args": ["many"]}, {}, 422, "invalid_payload"),
        ({**NEW, "args": []}, {}, 422, "invalid_payload"),
        ({**NEW, "more": 1}, {}, 400, "bad_request"),
        ({**NEW, "options": {"priority": "top"}}, {}, 400, "bad_request"),
        ({**NEW, "options": {"on_busy": "after"}}, {}, 400, "bad_request"),
        (
            {**NEW, "options": {"exclusive": "a", "on_busy": {"seconds": 5, "at_most": 1}}},
            *({}, 400, "bad_request"),
        ),
        ({"args": []}, {}, 400, "bad_request"),
        ([], {}, 400, "bad_request"),
        ({**NEW, "options": {"key": "a"}}, {"idempotency-key": "b"}, 400, "bad_request"),
        (NEW, {"idempotency-key": ""}, 400, "bad_request"),
        (NEW, {"idempotency-key": "k" * 257}, 400, "bad_request"),
        (NEW, {"content-type": "text/plain"}, 415, "wrong_type"),
        (NEW, {"content-type": "application/x-www-form-urlencoded"}, 415, "wrong_type"),
        (NEW, {"origin": "https://evil.example"}, 403, "forbidden"),
        (NEW, {"sec-fetch-site": "cross-site"}, 403, "forbidden"),
        (NEW, {"host": "evil.example"}, 421, "misdirected"),
    ],
)
async def test_what_is_not_submitted(body: Any, headers: dict[str, str], status: int, code: str) -> None:
    """A wrong submission is refused with its code, and leaves no job."""
    async with served() as site:
        refused(await site.http.post("/v1/jobs", json=body, headers=headers), status, code)
        assert await site.jobs.count() == 0


@attrs.frozen
class Charge:
    order: str
    currency: str = "EUR"
    _cents: int = 0


@handler
async def charge(job: JobContext[Charge], what: Charge, shares: dict[int, float] | None = None) -> Charge:
    """Send and return the argument."""
    await job.send(what)
    return what


async def test_a_misspelt_field_is_named() -> None:
    """An unknown field of an argument is refused by its name, even if the right one has a default."""
    async with served([charge]) as site:
        body = {"handler": "charge", "args": [{"order": "17", "curency": "USD"}]}
        problem = refused(await site.http.post("/v1/jobs", json=body), 422, "invalid_payload")
        assert "$[0].curency is no field of Charge" in problem["detail"]
        async with site.websocket() as socket:
            await socket.send_message(json.dumps({"op": "submit", "id": 1, **body}))
            assert "$[0].curency is no field of Charge" in str(await socket.get_message())
        assert await site.jobs.count() == 0


async def test_private_fields_are_sent() -> None:
    """Private fields and integer keys reach a job, and return over event streams and WebSockets."""
    async with served([charge]) as site:
        job_id = await site.submit("charge", {"order": "17", "_cents": 995}, {"1": 0.5})
        stream = (await site.http.get(f"/v1/jobs/{job_id}/stream")).text
        assert 'event: token\ndata: {"_cents":995,"currency":"EUR","order":"17"}' in stream
        assert (await site.http.get(f"/v1/jobs/{job_id}")).json()["result"]["_cents"] == 995
        async with site.websocket() as socket:
            await socket.send_message(json.dumps({"op": "follow", "id": 1, "job": job_id}))
            assert '"_cents":995' in str(await socket.get_message())


async def test_what_is_no_json_is_not_submitted() -> None:
    """Bytes that are no JSON, and JSON that is too deep, are bad requests."""
    async with served(limits=Limits(depth=4)) as site:
        for body in (b"", b"{", b"\xff", b"null", b'{"handler":"count","args":[[[[[1]]]]]}'):
            answer = await site.http.post(
                "/v1/jobs", content=body, headers={"content-type": "application/json; charset=utf-8"}
            )
            refused(answer, 400, "bad_request")


async def test_a_full_queue_and_a_lost_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary error is 503 with `Retry-After`, and has no details about the store."""
    async with served(registry={"queue_limit": 1}) as site:
        site.jobs.pause()
        await site.submit("count", 1)
        assert refused(await site.http.post("/v1/jobs", json=NEW), 503, "queue_full")["limit"] == 1

        async def lost(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable("disk I/O error on /srv/jobs.db")

        monkeypatch.setattr(type(site.jobs), "find", lost)
        assert "/srv" not in refused(await site.http.get("/v1/jobs"), 503, "unavailable")["detail"]


async def test_an_owner_has_so_many_jobs_in_the_queue() -> None:
    """An owner over the limit is refused with `Retry-After`; others are not."""
    async with served(authenticate=by_token, limits=Limits(queued=1)) as site:
        site.jobs.pause()
        assert (await site.http.post("/v1/jobs", json=NEW, headers=as_("ann"))).status_code == 202
        refused(await site.http.post("/v1/jobs", json=NEW, headers=as_("ann")), 429, "too_many")
        assert (await site.http.post("/v1/jobs", json=NEW, headers=as_("bob"))).status_code == 202


# ------------------------------------------------------------ looking


async def test_jobs_are_found_by_what_they_are() -> None:
    """Each parameter narrows the result; several states mean any of them, several tags all of them."""
    async with served() as site:
        one = await site.submit("count", 1, tags={"a": "1", "b": "x=y"})
        two = await site.submit("fail", "no", tags={"a": "1"})
        three = await site.submit("count", 2)
        for job_id in (one, two, three):
            await ended(site, job_id)

        async def found(query: str) -> list[str]:
            answer = await site.http.get(f"/v1/jobs?{query}")
            assert answer.status_code == 200, answer.text
            return [job["id"] for job in answer.json()["jobs"]]

        assert await found("") == [one, two, three]
        assert await found("newest=true") == [three, two, one]
        assert await found("limit=2") == [one, two]
        assert await found("state=failed") == [two]
        assert await found("state=failed&state=completed&newest=1") == [three, two, one]
        assert await found("tag=a=1") == [one, two]
        assert await found("tag=a=1&tag=b=x%3Dy") == [one]
        assert await found("handler=fail") == [two]
        assert await found("args_contain=1") == [one]
        assert await found("args_contain=%22no%22&handler=fail") == [two]
        assert await found("state=queued") == []
        assert await found(f"parent={one}") == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "state=done",
        "tag=a",
        f"args_contain={'a' * 1001}",
        "&".join(["tag=a=1"] * 65),
        "newest=maybe",
        "id=1",
        "op=get",
        "job=x",
        "x=1",
    ],
)
async def test_a_question_that_makes_no_sense(query: str) -> None:
    """An unknown parameter or value is refused, not ignored."""
    async with served() as site:
        refused(await site.http.get(f"/v1/jobs?{query}"), 400, "bad_request")


@pytest.mark.parametrize("name", ["handler", "parent"])
async def test_a_question_that_no_store_can_be_asked(name: str) -> None:
    """A text that no store keeps is refused in a filter as it is in a job."""
    async with served() as site:
        refused(await site.http.get(f"/v1/jobs?{name}=a%00b"), 422, "invalid_payload")


async def test_a_jobs_history() -> None:
    """The history has the events except tokens and progress, as the wire has them."""
    async with served() as site:
        job_id = await site.submit("count", 3)
        await ended(site, job_id)
        history = (await site.http.get(f"/v1/jobs/{job_id}/history")).json()["history"]
        assert [(one["seq"], one["kind"]) for one in history] == [
            (1, "submitted"),
            (2, "started"),
            (6, "completed"),
        ]


@pytest.mark.parametrize("shown", [True, False])
async def test_tracebacks_are_shown_if_they_are_to_be(shown: bool) -> None:
    """Without `tracebacks` neither a job nor a history has one; a list never has one."""
    async with served(tracebacks=shown) as site:
        job_id = await site.submit("fail", "no")
        await ended(site, job_id)
        for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/history"):
            text = (await site.http.get(path)).text
            assert '"ValueError"' in text
            assert ("served.py" in text) is shown
        listed = (await site.http.get("/v1/jobs")).text
        assert "ValueError: no" in listed
        assert "served.py" not in listed


async def test_metrics_of_the_programs_own() -> None:
    """The metrics are what the function of the program returns, which gets the registry."""

    async def metrics(jobs: Any) -> bytes:
        return f"running {(await jobs.statistics()).running}\n".encode()

    async with served(metrics=metrics) as site:
        answer = await site.http.get("/v1/metrics")
        assert (answer.text, answer.headers["content-type"]) == (
            "running 0\n",
            "text/plain; version=0.0.4; charset=utf-8",
        )
        with pytest.raises(TypeError, match="metrics takes an async function"):
            http_app(site.jobs, metrics=lambda jobs: b"")  # type: ignore[arg-type,return-value]


async def test_what_can_be_submitted_and_what_goes_on() -> None:
    """The handlers with their parameters, the statistics and the metrics are those of the registry."""
    async with served() as site:
        found = (await site.http.get("/v1/handlers")).json()["handlers"]
        assert [one["name"] for one in found] == ["count", "hang", "fail"]
        assert found[0]["parameters"] == [{"name": "to", "schema": {"type": "integer"}, "required": True}]
        await ended(site, await site.submit("count", 1))
        assert (await site.http.get("/v1/statistics")).json()["states"] == {"completed": 1}
        metrics = await site.http.get("/v1/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'trio_jobs_jobs{state="completed"} 1\n' in metrics.text


async def test_handlers_are_paused_and_resumed() -> None:
    """Handlers are paused by name, or all, and resumed; the answer is the statistics, which say what is."""
    async with served() as site:

        async def says(path: str, handlers: list[str] | None) -> tuple[bool, list[str]]:
            answers = [
                (await site.http.post(path, json={"handlers": handlers})).json(),
                (await site.http.get("/v1/statistics")).json(),
            ]
            found, again = ((one["all_paused"], one["paused_handlers"]) for one in answers)
            assert found == again
            return found

        assert await says("/v1/pause", ["hang", "count"]) == (False, ["count", "hang"])
        job_id = await site.submit("count", 1)
        assert await says("/v1/resume", ["hang"]) == (False, ["count"])
        assert await says("/v1/pause", None) == (True, ["count"])
        assert (await site.jobs.get(job_id)).id == job_id
        assert await says("/v1/resume", None) == (False, [])
        await ended(site, job_id)
        wrong: list[Any] = [{}, {"handlers": []}, {"handlers": [""]}, {"handlers": "hang"}, []]
        for body in wrong:
            refused(await site.http.post("/v1/pause", json=body), 400, "bad_request")


async def test_health_says_nothing_but_that() -> None:
    """The health check is open to every caller; every other address needs a token."""
    async with served(authenticate=by_token) as site:
        assert (await site.http.get("/healthz")).text == "ok\n"
        for path in ("/v1/jobs", "/v1/handlers", "/v1/statistics", "/v1/metrics", "/v1/jobs/x"):
            answer = await site.http.get(path)
            refused(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"


# ------------------------------------------------------------ cancelling


async def test_a_job_is_cancelled() -> None:
    """The report has the outcome: cancelled, over already, or only requested (202)."""
    async with served() as site:
        job_id = await site.submit("hang")
        answer = await site.http.delete(f"/v1/jobs/{job_id}?reason=enough&patience=5")
        assert (answer.status_code, answer.json()["outcome"]) == (200, "cancelled")
        assert (await site.http.get(f"/v1/jobs/{job_id}")).json()["message"] == "enough"
        for query in ("", "?wait=false"):
            answer = await site.http.delete(f"/v1/jobs/{job_id}{query}")
            assert (answer.status_code, answer.json()["outcome"]) == (200, "already_over")
        other = await site.submit("hang")
        answer = await site.http.delete(f"/v1/jobs/{other}?wait=false")
        assert (answer.status_code, answer.json()["outcome"]) == (202, "requested")
        await ended(site, other)
        refused(await site.http.delete(f"/v1/jobs/{other}?patience=-1"), 400, "bad_request")
        refused(await site.http.delete(f"/v1/jobs/{other}?force=1"), 400, "bad_request")
        refused(await site.http.delete("/v1/jobs/unknown"), 404, "unknown_job")


@pytest.mark.parametrize("shown", [True, False])
async def test_a_job_that_does_not_stop(shown: bool) -> None:
    """A job that is stuck is 202, as it may still stop; only a server with tracebacks shows its stack."""
    async with stubborn_job(tracebacks=shown) as (site, job_id, go_on):
        answer = await site.http.delete(f"/v1/jobs/{job_id}?patience=0.01")
        assert (answer.status_code, answer.json()["outcome"]) == (202, "stuck")
        assert ("stubborn" in (answer.json()["stack"] or "")) is shown
        go_on.set()
        await ended(site, job_id)


# ------------------------------------------------------------ whose


async def test_a_job_of_somebody_else_is_unknown() -> None:
    """Each request about another owner's job has the answer of an unknown job, byte by byte."""
    async with served(authenticate=by_token) as site:
        made = await site.http.post("/v1/jobs", json={"handler": "hang"}, headers=as_("ann"))
        job_id = made.json()["job_id"]
        for method, path in (("GET", ""), ("GET", "/history"), ("GET", "/stream"), ("DELETE", "")):
            foreign = await site.http.request(method, f"/v1/jobs/{job_id}{path}", headers=as_("bob"))
            nobodys = await site.http.request(method, f"/v1/jobs/{'0' * 32}{path}", headers=as_("bob"))
            refused(foreign, 404, "unknown_job")
            assert foreign.text.replace(job_id, "") == nobodys.text.replace("0" * 32, "")
        assert (await site.http.get("/v1/jobs", headers=as_("bob"))).json() == {"jobs": [], "next": None}
        for name in ("ann", "root"):
            (job,) = (await site.http.get("/v1/jobs", headers=as_(name))).json()["jobs"]
            assert (job["id"], job["owner"], job["state"]) == (job_id, "ann", "running")


async def test_what_only_some_may() -> None:
    """Statistics, metrics and pauses are for callers with all rights; no caller submits for another owner."""
    async with served(authenticate=by_token) as site:
        for path in ("/v1/statistics", "/v1/metrics"):
            refused(await site.http.get(path, headers=as_("ann")), 403, "forbidden")
            assert (await site.http.get(path, headers=as_("root"))).status_code == 200
        for path in ("/v1/pause", "/v1/resume"):
            refused(await site.http.post(path, json={"handlers": None}, headers=as_("ann")), 403, "forbidden")
        theirs = {**NEW, "options": {"owner": "bob"}}
        refused(await site.http.post("/v1/jobs", json=theirs, headers=as_("ann")), 403, "forbidden")
        assert (await site.http.post("/v1/jobs", json=theirs, headers=as_("root"))).status_code == 202


# ------------------------------------------------------------ in which words


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/jobs/x/y", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("POST", "/v1/jobs/x", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("GET", "/v1/jobs/x", 404, "unknown_job"),
        ("GET", "/v1/jobs/x/history", 404, "unknown_job"),
        ("GET", "/v1/jobs/x/stream", 404, "unknown_job"),
        ("GET", "/v1/jobs/x/stream?after=y", 400, "bad_request"),
        ("GET", "/v1/jobs/x/stream?policy=z", 400, "bad_request"),
    ],
)
async def test_what_is_not_there(method: str, path: str, status: int, code: str) -> None:
    """An unknown address or method has a problem, from whichever layer; 405 lists the methods."""
    async with served() as site:
        answer = await site.http.request(method, path)
        refused(answer, status, code)
        assert ("allow" in answer.headers) is (status == 405)


async def test_a_mistake_of_the_servers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error is 500 without details; it is logged, and the server goes on."""
    async with served() as site:

        async def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("the secret")

        with monkeypatch.context() as patch:
            patch.setattr(type(site.jobs), "find", broken)
            answer = await site.http.get("/v1/jobs")
        assert "secret" not in str(refused(answer, 500, "internal"))
        (record,) = caplog.records
        assert (record.levelno, record.name) == (logging.ERROR, "trio_jobs.serving")
        assert record.exc_info is not None
        assert "the secret" in str(record.exc_info[1])
        assert (await site.http.get("/v1/jobs")).status_code == 200


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, RuntimeError])
async def test_an_authenticate_that_fails(error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    """An exception of `authenticate` of any type is logged, and not sent."""

    async def broken(headers: Mapping[str, str]) -> Caller | None:
        raise error("postgres://jobs:secret@db")

    async with served(authenticate=broken) as site:
        assert "secret" not in str(refused(await site.http.get("/v1/jobs"), 500, "internal"))
    assert "secret" in caplog.text


async def test_every_answer_is_hardened() -> None:
    """Each answer has a fixed type, is for this site only, and is not cached."""
    async with served() as site:
        for path in ("/v1/jobs", "/v1/jobs/x", "/nothing", "/healthz", "/openapi.json", "/v1/metrics"):
            headers = (await site.http.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers
        headers = (await site.http.get("/v1/jobs", headers={"host": "evil.example"})).headers
        assert headers["x-content-type-options"] == "nosniff"


async def test_head_is_get_without_the_body() -> None:
    """`HEAD` has the status and the headers of `GET`."""
    async with served() as site:
        for path in ("/v1/jobs", "/v1/handlers", "/healthz", "/openapi.json", "/"):
            got, head = await site.http.get(path), await site.http.head(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert head.headers["content-type"] == got.headers["content-type"]


# ------------------------------------------------------------ other sites


async def test_a_site_that_may() -> None:
    """A page of an allowed origin can do what the own page can, and read the answers."""
    origin = "https://app.example"
    async with served(origins=[origin]) as site:
        asked = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,idempotency-key,authorization,last-event-id",
        }
        preflight = await site.http.options("/v1/jobs", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == origin
        assert {"GET", "POST", "DELETE"} <= set(
            preflight.headers["access-control-allow-methods"].replace(" ", "").split(",")
        )
        theirs = {"origin": origin, "sec-fetch-site": "cross-site"}
        answer = await site.http.post("/v1/jobs", json=NEW, headers=theirs)
        assert answer.status_code == 202
        assert answer.headers["access-control-allow-origin"] == origin
        assert "origin" in answer.headers["vary"].lower()
        exposed = answer.headers["access-control-expose-headers"].lower().replace(" ", "").split(",")
        assert {"location", "retry-after"} <= set(exposed)
        for job in ("x", answer.json()["job_id"]):
            got = await site.http.get(f"/v1/jobs/{job}", headers=theirs)
            assert got.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("origins", [[], ["https://app.example"]])
async def test_a_site_that_may_not(origins: list[str]) -> None:
    """A page of another origin can neither change anything nor read an answer."""
    async with served(origins=origins) as site:
        theirs = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("DELETE", "/v1/jobs/x")):
            answer = await site.http.request(method, path, headers=theirs)
            assert "access-control-allow-origin" not in answer.headers
            assert answer.status_code == (200 if method == "GET" else 403)
        asked = {**theirs, "access-control-request-method": "DELETE"}
        preflight = await site.http.options("/v1/jobs/x", headers=asked)
        assert preflight.status_code >= 400
        assert "access-control-allow-origin" not in preflight.headers


async def test_too_many_at_once() -> None:
    """Over its limit of requests a client gets `Retry-After`, and is served later."""
    async with served(limits=Limits(per_client=1)) as site:
        job_id = await site.submit("hang")
        async with site.http.stream("GET", f"/v1/jobs/{job_id}/stream") as stream:
            assert stream.status_code == 200
            refused(await site.http.get("/v1/handlers"), 429, "too_many")
        with trio.fail_after(20):
            while (await site.http.get("/v1/handlers")).status_code == 429:
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_probe_is_always_answered(method: str) -> None:
    """A probe is answered under any Host, also when an address has used all its requests and connections."""
    async with served(limits=Limits(per_client=1)) as site:
        job_id = await site.submit("hang")
        async with site.http.stream("GET", f"/v1/jobs/{job_id}/stream"):
            for _ in range(3):
                for host in ("evil.example", "10.0.0.1", ""):
                    answer = await site.http.request(method, "/healthz", headers={"host": host})
                    assert answer.status_code == 200
                await site.connect()
            wire = await site.connect()
            await wire.say("GET /v1/handlers HTTP/1.1", "Origin: http://127.0.0.1")
            answered = await wire.answer()
            assert (answered.status, json.loads(answered.body)["code"]) == (429, "too_many")
            assert answered.headers["connection"] == "close"


async def test_what_is_refused_can_be_read_by_pages_that_may() -> None:
    """Every refusal has the headers without which a browser hides it from the page."""
    origin = "https://app.example"
    limits = Limits(per_client=1, message=1024)
    async with served(origins=[origin], limits=limits, authenticate=by_token) as site:
        job_id = (await site.http.post("/v1/jobs", json={"handler": "hang"}, headers=as_("root"))).json()[
            "job_id"
        ]

        async def says(status: int, method: str, path: str, more: dict[str, str], body: bytes = b"") -> None:
            sent = {"origin": origin, "content-type": "application/json", **more}
            answer = await site.http.request(method, path, headers=sent, content=body)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == origin

        await says(421, "GET", "/v1/jobs", {"host": "evil.example"})
        await says(403, "GET", "/v1/statistics", as_("ann"))
        await says(401, "GET", "/v1/jobs", {})
        await says(404, "GET", "/nowhere", {})
        await says(405, "PUT", "/v1/jobs", {})
        await says(413, "POST", "/v1/jobs", as_("ann"), b"x" * 2000)
        async with site.http.stream("GET", f"/v1/jobs/{job_id}/stream", headers=as_("root")):
            await says(429, "GET", "/v1/jobs", {})
            await site.connect()
            await says(429, "GET", "/v1/jobs", {})


@pytest.mark.parametrize(
    "path", ["/v1/jobs/", "/v1/handlers/", "/healthz/", "/v1/jobs/x/stream/", "//v1/jobs"]
)
async def test_a_path_is_not_corrected(path: str) -> None:
    """A path with one slash more is 404, without a redirect, which might lead to no address."""
    async with served() as site:
        for method in ("GET", "POST"):
            refused(await site.http.request(method, f"{site.url}{path}", json=NEW), 404, "not_found")


@pytest.mark.parametrize(
    "asked",
    [
        "GET /v1/jobs/{id}?x=1",
        "GET /v1/jobs/{id}/history?x=1",
        "GET /v1/jobs/{id}/stream?x=1",
        "GET /v1/jobs/{id}/stream?after=0&after=1",
        "GET /v1/jobs?limit=1&limit=2",
        "GET /v1/handlers?x",
        "GET /v1/handlers?=",
        "GET /v1/statistics?after=1",
        "GET /v1/metrics?x=",
        "DELETE /v1/jobs/{id}?x=1",
        "DELETE /v1/jobs/{id}?grace=0&grace=1",
        "POST /v1/jobs?key=a",
    ],
)
async def test_a_parameter_that_is_none(asked: str) -> None:
    """An unknown parameter, or one that is given twice, is refused, not ignored."""
    async with served() as site:
        method, _, path = asked.format(id=await site.submit("hang")).partition(" ")
        refused(await site.http.request(method, path, json=NEW), 400, "bad_request")
        assert await site.jobs.count() == 1


async def test_the_description_is_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is made once, and has the name by which each client reaches the server."""
    async with served(hosts=["*"]) as site:
        monkeypatch.setattr(app, "openapi", None)
        for host in ("one.example", "two.example:80"):
            document = (await site.http.get("/openapi.json", headers={"host": host})).json()
            assert document["servers"] == [{"url": f"http://{host}"}]


def test_lists_are_lists() -> None:
    """A text in place of a list, which would be a list of letters, is refused at once."""
    with pytest.raises(TypeError, match="hosts takes a list"):
        http_app(None, hosts="jobs.example")  # type: ignore[arg-type]
