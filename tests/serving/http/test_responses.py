"""Answers over HTTP: pages, and values of any size, sent with their length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio
import trio.testing

from tests.serving.served import count, parse, served
from tests.wire import LARGE, Get
from trio_jobs import JobContext, handler
from trio_jobs.serving import Caller, Limits
from trio_jobs.serving.http.responses import answer_to
from trio_jobs.serving.operations import JobOperations
from trio_jobs.serving.options import ServerOptions

TEXT = "é" * LARGE


@handler
async def speak(job: JobContext[str], text: str) -> str:
    """Save a long text and return it."""
    await job.save(text * LARGE)
    return text * LARGE


async def _anna(headers: Mapping[str, str]) -> Caller | None:
    return Caller(headers.get("authorization", "nobody"))


async def test_a_value_of_any_size() -> None:
    """Each value has an address, where it is sent whole, with its length; a job has these addresses."""
    async with served([speak]) as site:
        job = await site.submit("speak", "é", metadata={"small": 1})
        await (await site.jobs.get(job)).wait()
        found = (await site.http.get(f"/v1/jobs/{job}")).json()
        size = len(TEXT.encode()) + 2
        assert found["large"] == {"result": size, "saved": size}
        assert found["metadata"] == {"small": 1}
        for name in ("result", "saved", "history/3", "history/4"):
            answer = await site.http.get(f"/v1/jobs/{job}/{name}")
            assert answer.headers["content-length"] == str(size)
            assert answer.headers["content-type"] == "application/json"
            assert answer.json() == TEXT
        head = await site.http.head(f"/v1/jobs/{job}/result")
        assert (head.headers["content-length"], head.content) == (str(size), b"")
        assert (await site.http.get(f"/v1/jobs/{job}/metadata")).json() == {"small": 1}
        history = (await site.http.get(f"/v1/jobs/{job}/history")).json()
        assert [event.get("large") for event in history["history"]] == [None, None, size, size]
        behind = (await site.http.get(f"/v1/jobs/{job}/history?after=3")).json()
        assert behind == {"history": history["history"][3:], "next": None}


async def test_an_event_stream_names_what_is_large() -> None:
    """Over an event stream, large data is replaced by its size and an address."""
    async with served([speak]) as site:
        job = await site.submit("speak", "é")
        await (await site.jobs.get(job)).wait()
        events = parse((await site.http.get(f"/v1/jobs/{job}/stream")).text)
        assert [event.event for event in events] == ["submitted", "started", "large", "completed"]
        assert events[2].value == {"kind": "saved", "bytes": len(TEXT.encode()) + 2}
        data = await site.http.get(f"/v1/jobs/{job}/history/{events[2].id}")
        assert data.json() == TEXT


async def test_a_value_that_is_not_there() -> None:
    """A job that has not ended has the result null; a missing value, or another owner's, is refused."""
    async with served(authenticate=_anna) as site:
        here = {"authorization": "anna"}
        new = {"handler": "hang"}
        job = (await site.http.post("/v1/jobs", json=new, headers=here)).json()["job_id"]
        assert (await site.http.get(f"/v1/jobs/{job}/result", headers=here)).json() is None
        for path, headers, status, code in (
            (f"/v1/jobs/{job}/history/99", here, 409, "changed"),
            (f"/v1/jobs/{job}/result", {}, 404, "unknown_job"),
            (f"/v1/jobs/{job}/history/1", {}, 404, "unknown_job"),
        ):
            answer = await site.http.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_list_goes_on() -> None:
    """`next` is the cursor of the next page, until there is none."""
    async with served() as site:
        ids = [await site.submit("count", 1) for _ in range(5)]
        found: list[str] = []
        query = "limit=2"
        while True:
            page = (await site.http.get(f"/v1/jobs?{query}")).json()
            found += [job["id"] for job in page["jobs"]]
            if page["next"] is None:
                break
            query = f"limit=2&cursor={page['next']}"
        assert found == ids


async def test_who_leaves_is_not_worked_for() -> None:
    """A request that waits for room is dropped when its client leaves, and not carried out."""
    async with served([count]) as site:
        operations = JobOperations(site.jobs, ServerOptions(limits=Limits(all_unsent=2**20)))
        job = await site.submit("count", 1)
        left = trio.Event()
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        async with operations.account.room(2**20), trio.open_nursery() as nursery:
            response = answer_to(operations, Caller(None), Get(1, job))
            nursery.start_soon(response, {"type": "http", "method": "GET"}, receive, send)
            await trio.testing.wait_all_tasks_blocked()
            assert sent == []
            left.set()
        assert operations.account.used == 0
        assert sent[0]["status"] == 400  # which nobody reads


async def test_a_value_whose_reader_leaves() -> None:
    """Sending a value in pieces stops when its reader has gone."""
    async with served([speak]) as site:
        job = await site.submit("speak", "é")
        await (await site.jobs.get(job)).wait()
        wire = await site.connect()
        await wire.say(f"GET /v1/jobs/{job}/result HTTP/1.1")
        assert (await wire.head()).status == 200
        await wire.stream.aclose()
        assert (await site.http.get(f"/v1/jobs/{job}/result")).json() == TEXT
