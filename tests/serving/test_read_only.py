"""Callers who may read only: `Caller(may="read")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from tests.serving.place import Place, bearer, by_token, place
from tests.wire import AnyRequest
from trio_jobs import Schedule
from trio_jobs.serving import Caller

WHERE: dict[str, Any] = {"state": "running"}
CHANGES: dict[str, dict[str, Any]] = {
    "submit": {"handler": "echo", "args": ["a"]},
    "resubmit": {"job": "ID"},
    "bulk": {"what": {"action": "cancel", "where": WHERE}},
    "cancel": {"job": "ID", "wait": False},
    "send": {"job": "ID", "values": [1], "input_id": "i"},
    "end_inputs": {"job": "ID"},
    "follow": {"job": "ID", "policy": "block"},
    "pause": {"handlers": None},
    "resume": {"handlers": None},
    "add_schedule": {"what": {"handler": "wait", "every": 7200}},
    "remove_schedule": {"name": "tick"},
    "pause_schedule": {"name": "tick"},
    "resume_schedule": {"name": "tick"},
    "trigger_schedule": {"name": "tick"},
    "set_limit": {"name": "gpu", "at_once": 1},
    "unset_limit": {"name": "gpu"},
}
READS: dict[str, dict[str, Any]] = {
    "get": {"job": "ID"},
    "list": {},
    "find": {},
    "bulk": {"what": {"action": "cancel", "where": WHERE, "dry_run": True}},
    "explain": {"job": "ID"},
    "history": {"job": "ID"},
    "value": {"job": "ID", "field": "args", "seq": 1},
    "follow": {"job": "ID"},
    "handlers": {},
    "statistics": {},
    "overview": {},
    "schedules": {},
    "limits": {},
    "ping": {},
}
OF_OTHERS = {"wait", "ack", "unfollow"}  # of which the first answers late, and these two are of a follow
OVER_HTTP: list[tuple[str, str, Any]] = [
    ("POST", "/v1/jobs", {"handler": "echo", "args": ["a"]}),
    ("POST", "/v1/jobs/ID/resubmit", {}),
    ("POST", "/v1/jobs/bulk", {"action": "cancel", "where": WHERE}),
    ("DELETE", "/v1/jobs/ID", None),
    ("POST", "/v1/jobs/ID/inputs", {"value": 1}),
    ("POST", "/v1/jobs/ID/inputs/end", None),
    ("GET", "/v1/jobs/ID/stream?policy=block", None),
    ("POST", "/v1/pause", {"handlers": None}),
    ("POST", "/v1/resume", {"handlers": None}),
    ("POST", "/v1/schedules", {"handler": "wait", "every": 7200}),
    ("POST", "/v1/schedules/remove?name=tick", None),
    ("POST", "/v1/schedules/pause?name=tick", None),
    ("POST", "/v1/schedules/resume?name=tick", None),
    ("POST", "/v1/schedules/trigger?name=tick", None),
    ("POST", "/v1/limits/set?name=gpu&at_once=1", None),
    ("POST", "/v1/limits/unset?name=gpu", None),
]


async def reader_or_root(headers: Mapping[str, str]) -> Caller | None:
    """Let everybody read, and root change."""
    root = await by_token(headers)
    return root if root is not None and root.owner is None else Caller(None, may="read")


async def prepared(here: Place) -> str:
    """Make what the requests are about, and return the id of the job."""
    await here.jobs.schedules.add(Schedule(here.jobs.handlers["wait"], every=7200, name="tick"))
    return (await here.submit("wait")).id


def about(job_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: job_id if value == "ID" else value for name, value in fields.items()}


def test_each_operation_is_known_as_reading_or_changing() -> None:
    """An operation that is added has to be told here to be of one kind."""
    ops = {one.__struct_config__.tag for one in get_args(AnyRequest)}
    assert ops == {*CHANGES, *READS, *OF_OTHERS}


async def test_who_may_read_changes_nothing_over_a_websocket() -> None:
    """Each operation that changes something is refused, and each that reads is answered."""
    async with place("http", authenticate=reader_or_root) as here:
        job_id = await prepared(here)
        async with here.socket(bearer("reader")) as reader, here.socket(bearer("root")) as root:
            for op, fields in CHANGES.items():
                answer = await reader.ask(op, **about(job_id, fields))
                assert answer["error"]["code"] == "forbidden", op
                assert "this caller may read, and change nothing" in answer["error"]["message"]
            for number, (op, fields) in enumerate(READS.items(), 2):
                assert "error" not in await reader.ask(op, number, **about(job_id, fields)), op
            assert (await reader.ask("handlers"))["may"] == "read"
            assert (await root.ask("handlers"))["may"] == "change"
            assert "job" in await root.ask("submit", **CHANGES["submit"])
        assert not (await here.jobs.statistics()).all_paused
        assert await here.jobs.count() == 2  # what was prepared, and root's


@pytest.mark.parametrize(("method", "path", "body"), OVER_HTTP)
async def test_who_may_read_changes_nothing_over_http(method: str, path: str, body: Any) -> None:
    """Each request that changes something has the status 403, and changes nothing."""
    async with place("http", authenticate=reader_or_root) as here:
        job_id = await prepared(here)
        before = await (await here.jobs.get(job_id)).snapshot()
        answer = await here.http(method, path.replace("ID", job_id), bearer("reader"), body)
        assert answer.status == 403, answer
        assert b"this caller may read, and change nothing" in answer.body
        assert await here.jobs.count() == 1
        assert (
            await (await here.jobs.get(job_id)).snapshot()
        ).cancel_requested_at is before.cancel_requested_at
        assert (await here.http("GET", f"/v1/jobs/{job_id}", bearer("reader"))).status == 200


def test_may_is_one_of_two_words() -> None:
    """Another word is refused, with those that there are."""
    with pytest.raises(ValueError, match="^may must be one of 'read', 'change'; got"):
        Caller(None, may="write")  # type: ignore[arg-type]
