"""Another owner's job and an unknown job have the same answer, byte by byte, to every request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.serving.place import Door, Place, bearer, by_token, place
from tests.serving.raw import Peer
from trio_jobs import Limit, Schedule

UNKNOWN = "0" * 32

OPS: list[tuple[str, dict[str, Any]]] = [
    ("get", {}),
    ("history", {}),
    ("wait", {}),
    ("cancel", {}),
    ("cancel", {"wait": False, "reason": "because"}),
    ("follow", {}),
    ("follow", {"after": 1, "policy": "block", "window": 1}),
    ("follow", {"after": 999}),
]
REQUESTS = [
    ("GET", ""),
    ("GET", "/history"),
    ("GET", "/explanation"),
    ("GET", "/stream"),
    ("GET", "/stream?after=1&policy=block"),
    ("GET", "/stream?after=999"),
    ("DELETE", ""),
    ("DELETE", "?wait=false&reason=because"),
    ("GET", "/nothing"),
    ("POST", ""),
    ("HEAD", ""),
]


async def of_anna(here: Place, **options: Any) -> str:
    """Submit a job of Anna's that waits for a cancellation."""
    handle = await here.submit("wait", owner="anna", **options)
    return handle.id


def told(answer: object, job_id: str) -> str:
    """Return the content of an answer, without the id of the request."""
    return json.dumps(answer, sort_keys=True).replace(job_id, "ID")


@pytest.mark.parametrize(("method", "path"), REQUESTS)
async def test_a_foreign_job_is_an_unknown_one(method: str, path: str) -> None:
    """Over HTTP, each request about another's job has the status, headers and body of one about no job."""
    async with place("http", authenticate=by_token) as here:
        job_id = await of_anna(here)

        async def ask(which: str) -> tuple[int, Mapping[str, str], bytes]:
            answer = await here.http(method, f"/v1/jobs/{which}{path}", bearer("bert"))
            headers = {name: value for name, value in answer.headers.items() if name != "date"}
            return answer.status, headers, answer.body.replace(which.encode(), b"ID")

        foreign, unknown = await ask(job_id), await ask(UNKNOWN)
        assert foreign == unknown
        assert foreign[0] in {404, 405}
        (job,) = await here.jobs.find()
        assert job.cancel_requested_at is None


@pytest.mark.parametrize(("op", "fields"), OPS, ids=str)
async def test_a_foreign_job_is_an_unknown_one_on_a_socket(
    door: Door, op: str, fields: dict[str, Any]
) -> None:
    """Over a WebSocket, each request about another's job has the reply of one about no job."""
    async with place(door, authenticate=by_token) as here:
        job_id = await of_anna(here)
        async with here.socket(bearer("bert")) as peer:
            foreign = await peer.ask(op, 1, job=job_id, **fields)
            unknown = await peer.ask(op, 1, job=UNKNOWN, **fields)
        assert told(foreign, job_id) == told(unknown, UNKNOWN)
        assert foreign["error"]["code"] == "unknown_job"
        (job,) = await here.jobs.find()
        assert job.cancel_requested_at is None


async def found(peer: Peer, **where: object) -> list[str]:
    """Return the ids that a connection finds."""
    listed, whole = [
        [job["id"] for job in (await peer.ask(op, 1, **where))["jobs"]] for op in ("list", "find")
    ]
    assert listed == whole
    return listed


async def test_lists_show_ones_own(door: Door) -> None:
    """Each owner finds only their own jobs, whatever the filter; a caller with all rights finds all."""
    async with place(door, authenticate=by_token) as here:
        annas = await of_anna(here, tags={"of": "anna"})
        nobodys = (await here.submit("wait")).id
        filters: list[dict[str, Any]] = [
            {},
            {"tags": {"of": "anna"}},
            {"handler": "wait"},
            {"parent": annas},
            {"newest": True},
            {"state": ["running", "queued"]},
            {"limit": 1000},
        ]
        async with here.socket(bearer("bert")) as bert:
            for where in filters:
                assert await found(bert, **where) == [], where
            # An owner in the filter is unknown, or does not count.
            answer = await bert.ask("find", 1, owner="anna")
            assert "error" in answer or answer["jobs"] == []
        async with here.socket(bearer("anna")) as anna, here.socket(bearer("root")) as root:
            assert await found(anna) == [annas]
            assert set(await found(root)) == {annas, nobodys}
        if door == "http":
            for query in (
                "",
                "?tag=of=anna",
                "?handler=wait",
                f"?parent={annas}",
                "?owner=anna",
                "?newest=true",
            ):
                answer = await here.http("GET", f"/v1/jobs{query}", bearer("bert"))
                assert answer.status >= 400 or answer.json == {"jobs": [], "next": None}, query


async def test_a_key_is_ones_own(door: Door) -> None:
    """Two owners may use one key: each has a job of their own, and gets no facts of the other's."""
    async with place(door, authenticate=by_token) as here:
        annas = await of_anna(here, key="k")
        async with here.socket(bearer("bert")) as bert:
            mine = await bert.ask("submit", 1, handler="echo", args=["x"], options={"key": "k"})
            again = await bert.ask("submit", 1, handler="echo", args=["x"], options={"key": "k"})
        assert mine["job"]["owner"] == "bert"
        assert mine["job"]["id"] == again["job"]["id"] != annas


async def test_nobody_submits_for_another(door: Door) -> None:
    """An owner in the options is refused or ignored: the caller is the owner."""
    async with place(door, authenticate=by_token) as here:
        async with here.socket(bearer("bert")) as bert:
            answer = await bert.ask("submit", 1, handler="echo", options={"owner": "anna"})
        assert "error" in answer or answer["job"]["owner"] == "bert"
        assert [job for job in await here.jobs.find() if job.owner != "bert"] == []
        if door == "http":
            body = {"handler": "echo", "options": {"owner": "anna"}}
            assert (await here.http("POST", "/v1/jobs", bearer("bert"), body)).status == 403
            assert [job for job in await here.jobs.find() if job.owner != "bert"] == []


async def test_an_owner_sees_no_figures(door: Door) -> None:
    """Statistics and metrics, which count all jobs, are for callers with all rights."""
    async with place(door, authenticate=by_token) as here:
        async with here.socket(bearer("anna")) as anna, here.socket(bearer("root")) as root:
            assert (await anna.ask("statistics"))["error"]["code"] == "forbidden"
            assert "statistics" in await root.ask("statistics")
        if door == "http":
            for path in ("/v1/statistics", "/v1/metrics"):
                assert (await here.http("GET", path, bearer("anna"))).status == 403
                assert (await here.http("GET", path, bearer("root"))).status == 200


async def test_an_owner_pauses_nothing(door: Door) -> None:
    """A pause holds the jobs of all, so it is for callers with all rights."""
    async with place(door, authenticate=by_token) as here:
        async with here.socket(bearer("anna")) as anna, here.socket(bearer("root")) as root:
            for op, after in (("pause", True), ("resume", False)):
                assert (await anna.ask(op, handlers=None))["error"]["code"] == "forbidden"
                assert (await here.jobs.statistics()).all_paused is not after
                assert (await root.ask(op, handlers=None))["statistics"]["all_paused"] is after


async def test_a_socket_is_its_callers(door: Door) -> None:
    """Headers of another caller's request change nothing on an open connection."""
    async with place(door, authenticate=by_token) as here, here.socket(bearer("bert")) as bert:
        job_id = await of_anna(here)
        async with here.socket(bearer("anna")) as anna:
            assert (await anna.ask("get", job=job_id))["job"]["id"] == job_id
            assert (await bert.ask("get", job=job_id))["error"]["code"] == "unknown_job"


async def test_an_owner_sees_and_changes_no_schedules(door: Door) -> None:
    """Schedules, which submit jobs for anybody, are seen, paused and triggered with all rights only."""
    async with place(door, authenticate=by_token) as here:
        await here.jobs.schedules.add(Schedule(here.jobs.handlers["wait"], every=1000, name="a/b ü"))
        async with here.socket(bearer("anna")) as anna, here.socket(bearer("root")) as root:
            for op, paused in (("pause_schedule", True), ("resume_schedule", False)):
                assert (await anna.ask(op, name="a/b ü"))["error"]["code"] == "forbidden"
                (status,) = (await root.ask(op, name="a/b ü"))["schedules"]
                assert (status["name"], status["added"], status["paused"]) == ("a/b ü", True, paused)
                assert (await root.ask(op, name="nope"))["error"]["code"] == "unknown_schedule"
            for op in ("schedules", "trigger_schedule"):
                named: dict[str, Any] = {} if op == "schedules" else {"name": "a/b ü"}
                assert (await anna.ask(op, **named))["error"]["code"] == "forbidden"
            job = (await root.ask("trigger_schedule", name="a/b ü"))["job"]
            assert job["tags"] == {"schedule": "a/b ü"}
        if door == "http":
            for method, path in (
                ("GET", "/v1/schedules"),
                ("POST", "/v1/schedules/pause?name=a/b%20%C3%BC"),
                ("POST", "/v1/schedules/resume?name=a/b%20%C3%BC"),
                ("POST", "/v1/schedules/trigger?name=a/b%20%C3%BC"),
                ("POST", "/v1/schedules/remove?name=a/b%20%C3%BC"),
            ):
                assert (await here.http(method, path, bearer("anna"))).status == 403
                assert (await here.http(method, path, bearer("root"))).status == 200
            assert (await here.http("POST", "/v1/schedules/pause", bearer("root"))).status == 400
            assert (await here.http("POST", "/v1/schedules/pause?name=x", bearer("root"))).status == 404


async def test_an_owner_adds_no_schedules_and_sees_and_sets_no_limits(door: Door) -> None:
    """What concerns the jobs of all is for callers with all rights only."""
    async with place(door, authenticate=by_token) as here:
        new = {"handler": "wait", "every": 1000, "name": "x", "options": {"owner": "anna"}}
        asked: list[tuple[str, dict[str, Any], str]] = [
            ("add_schedule", {"what": new}, "schedules"),
            ("set_limit", {"name": "gpu", "at_once": 2}, "limits"),
            ("limits", {}, "limits"),
            ("unset_limit", {"name": "gpu"}, "limits"),
            ("remove_schedule", {"name": "x"}, "schedules"),
        ]
        async with here.socket(bearer("anna")) as anna, here.socket(bearer("root")) as root:
            for number, (op, fields, answer) in enumerate(asked, 1):
                before = await here.jobs.schedules.find(), await here.jobs.limits.find()
                assert (await anna.ask(op, number, **fields))["error"]["code"] == "forbidden", op
                assert (await here.jobs.schedules.find(), await here.jobs.limits.find()) == before
                assert answer in await root.ask(op, number, **fields), op
        if door == "http":
            for method, path, body in (
                ("POST", "/v1/schedules", new),
                ("POST", "/v1/limits/set?name=gpu&at_once=2&per_second=0.5", None),
                ("GET", "/v1/limits", None),
            ):
                assert (await here.http(method, path, bearer("anna"), body)).status == 403
                assert (await here.http(method, path, bearer("root"), body)).status == 200
            (limit,) = await here.jobs.limits.find()
            assert (limit.name, limit.limit) == ("gpu", Limit(at_once=2, per_second=0.5))
            assert [one.name for one in await here.jobs.schedules.find()] == ["x"]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/schedules", {"handler": "nobody", "every": 9}, 422, b"nobody"),
        ("/v1/schedules", {"handler": "wait"}, 422, b"got neither"),
        ("/v1/schedules", {"handler": "wait", "every": 9, "options": {"delay": 1}}, 422, b"take no delay"),
        ("/v1/schedules", {"handler": "echo", "args": [[1], 2, 3], "every": 9}, 422, b"echo"),
        ("/v1/limits/set?name=gpu", None, 422, b"it would limit nothing"),
        ("/v1/limits/set?name=gpu&at_once=0", None, 400, b"at_once"),
        ("/v1/limits/set?name=gpu]&at_once=1", None, 422, b"does not end with"),
        ("/v1/limits/unset?name=gpu", None, 422, b"no limit is pinned"),
    ],
)
async def test_what_is_no_schedule_or_limit_is_refused(
    path: str, body: Any, status: int, said: bytes
) -> None:
    """The problem says what is wrong with it."""
    async with place("http", authenticate=by_token) as here:
        answer = await here.http("POST", path, bearer("root"), body)
        assert answer.status == status, answer
        assert said in answer.body
