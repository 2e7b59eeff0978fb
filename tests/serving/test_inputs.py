"""Inputs from outside: for which jobs, from whom, in which order, and how many."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio_websocket import WebSocketConnection

from tests.serving.served import ask, hear, served
from tests.wire import EndInputs, NewJob, Send
from trio_jobs import (
    IllegalTransition,
    InboxFull,
    InvalidPayload,
    JobContext,
    JobRegistry,
    KeyConflict,
    Kind,
    Retention,
    UnknownJob,
    handler,
    open_registry,
)
from trio_jobs.serving.operations import JobOperations
from trio_jobs.serving.options import ANYBODY, Caller, ServerOptions
from trio_jobs.serving.problems import Refused
from trio_jobs.stores.memory import MemoryStore

ANN, BOB = Caller("ann"), Caller("bob")
MOST = 40


@attrs.frozen
class Edit:
    page: int
    text: str = ""


@handler(inputs=Edit)
async def write(job: JobContext[str]) -> None:
    """Write."""
    await trio.sleep_forever()


@handler(inputs=Any)
async def listen(job: JobContext[str]) -> None:
    """Take anything."""
    await trio.sleep_forever()


@handler
async def deaf(job: JobContext[str]) -> None:
    """Take nothing."""
    await trio.sleep_forever()


HANDLERS = (write, listen, deaf)
KEPT = {"retention": Retention(inputs=MOST), "capacity": 0}


async def inputs_of(jobs: JobRegistry, job_id: str) -> list[Any]:
    handle = await jobs.get(job_id)
    last = (await handle.snapshot()).last_seq
    found: list[Any] = []
    async with handle.events() as events:
        while events.cursor < last:
            event = await events.receive()
            if event.kind in {Kind.INPUT, Kind.INPUTS_ENDED}:
                found.append((event.seq, event.data))
    return found


# ------------------------------------------------------------ whose, and for what


@asynccontextmanager
async def operating() -> AsyncGenerator[tuple[JobRegistry, JobOperations]]:
    async with open_registry(handlers=HANDLERS, **KEPT) as jobs:  # type: ignore[arg-type]
        yield jobs, JobOperations(jobs, ServerOptions())


async def test_inputs_become_what_the_handler_declares() -> None:
    """Inputs come as JSON, and are in the job's log as the declared type; what does not fit is refused."""
    async with operating() as (jobs, operations):
        job = await operations.submit(ANN, NewJob("write"))
        seq = await operations.send(ANN, Send(1, job, [{"page": 1}, {"page": 2, "text": "x"}], "a"))
        assert (seq, await inputs_of(jobs, job)) == (3, [(2, Edit(1)), (3, Edit(2, "x"))])
        for wrong in ({"page": "one"}, {"page": 1, "colour": "red"}, 7):
            with pytest.raises(InvalidPayload, match="an input of write does not fit"):
                await operations.send(ANN, Send(1, job, [{"page": 3}, wrong], "b"))
        assert len(await inputs_of(jobs, job)) == 2


async def test_a_handler_that_declares_no_inputs_gets_none() -> None:
    """Only a handler that says so takes inputs from outside, and the end of them."""
    async with operating() as (jobs, operations):
        job = await operations.submit(ANYBODY, NewJob("deaf"))
        for call in (
            operations.send(ANYBODY, Send(1, job, [1], "a")),
            operations.end_inputs(ANYBODY, EndInputs(1, job)),
        ):
            with pytest.raises(Refused, match="'deaf' does not say that it takes inputs") as caught:
                await call
            assert caught.value.code == "no_inputs"
        assert await inputs_of(jobs, job) == []
        assert await (await jobs.get(job)).send("from here") == 2


async def test_another_s_job_gets_no_inputs() -> None:
    """Whoever may not see a job may not send to it, and learns nothing of it."""
    async with operating() as (jobs, operations):
        job = await operations.submit(ANN, NewJob("listen"))
        with pytest.raises(UnknownJob):
            await operations.send(BOB, Send(1, job, [1], "a"))
        with pytest.raises(UnknownJob):
            await operations.end_inputs(BOB, EndInputs(1, job))
        assert await operations.send(ANYBODY, Send(1, job, [1], "a")) == 2
        assert await operations.end_inputs(ANN, EndInputs(1, job)) == 3
        assert await inputs_of(jobs, job) == [(2, 1), (3, None)]


async def test_the_box_is_bounded_and_ends() -> None:
    """One input more than there may be, an id for other values, and what comes behind the end are refused."""
    async with operating() as (_, operations):
        job = await operations.submit(ANN, NewJob("listen"))
        assert await operations.send(ANN, Send(1, job, [0] * MOST, "a")) == 1 + MOST
        with pytest.raises(InboxFull) as full:
            await operations.send(ANN, Send(1, job, [0], "b"))
        assert (full.value.unconsumed, full.value.limit) == (MOST, str(MOST))
        assert await operations.send(ANN, Send(1, job, [0] * MOST, "a")) == 1 + MOST
        with pytest.raises(KeyConflict):
            await operations.send(ANN, Send(1, job, [1], "a"))
        assert await operations.end_inputs(ANN, EndInputs(1, job)) == 2 + MOST
        assert await operations.end_inputs(ANN, EndInputs(1, job)) == 2 + MOST
        with pytest.raises(IllegalTransition):
            await operations.send(ANN, Send(1, job, [0], "c"))


# ------------------------------------------------------------ HTTP


async def test_inputs_by_http() -> None:
    """One value or several, once for each key; a full box says when to come back, and how full it is."""
    async with served(HANDLERS, registry=KEPT) as site:
        where = f"/v1/jobs/{await site.submit('listen')}/inputs"
        keyed = {"idempotency-key": "k"}
        for answer in [await site.http.post(where, json={"value": None}, headers=keyed) for _ in range(2)]:
            assert (answer.status_code, answer.json()) == (200, {"seq": 2})
        conflict = await site.http.post(where, json={"value": 1}, headers=keyed)
        assert (conflict.status_code, conflict.json()["code"]) == (409, "key_conflict")
        for last in (4, 6):  # without a key they come each time
            assert (await site.http.post(where, json={"values": [1, [2]]})).json() == {"seq": last}
        full = await site.http.post(where, json={"values": [0] * MOST})
        assert (full.status_code, full.headers["retry-after"], full.json()["code"]) == (
            429,
            "1",
            "inbox_full",
        )
        assert [full.json()[name] for name in ("unconsumed", "received", "limit")] == [5, 0, str(MOST)]
        for _ in range(2):
            assert (await site.http.post(f"{where}/end")).json() == {"seq": 7}
        ended = await site.http.post(where, json={"value": 1})
        assert (ended.status_code, ended.json()["code"]) == (409, "illegal_transition")


@pytest.mark.parametrize(
    ("name", "body", "headers", "status", "code"),
    [
        ("listen", {"value": 1, "values": [1]}, {}, 400, "bad_request"),
        ("listen", {}, {}, 400, "bad_request"),
        ("listen", {"values": []}, {}, 400, "bad_request"),
        ("listen", {"values": [0] * 1001}, {}, 400, "bad_request"),
        ("listen", {"value": 1, "job": "x"}, {}, 400, "bad_request"),
        ("listen", {"value": 1}, {"idempotency-key": "k" * 257}, 400, "bad_request"),
        ("listen", {"value": 1}, {"content-type": "text/plain"}, 415, "wrong_type"),
        ("listen", {"value": 1}, {"origin": "http://elsewhere.example"}, 403, "forbidden"),
        ("listen", {"value": "x" * 300_000}, {}, 413, "too_large"),
        ("write", {"value": 1}, {}, 422, "invalid_payload"),
        ("deaf", {"value": 1}, {}, 409, "no_inputs"),
    ],
)
async def test_other_bodies_are_refused(
    name: str, body: Any, headers: dict[str, str], status: int, code: str
) -> None:
    """What is not as the document says changes nothing; the checks of a submission hold here too."""
    async with served(HANDLERS, registry=KEPT) as site:
        job = await site.submit(name)
        headers = {"content-type": "application/json", **headers}
        answer = await site.http.post(f"/v1/jobs/{job}/inputs", content=json.dumps(body), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert await inputs_of(site.jobs, job) == []


async def test_jobs_are_listed_by_their_reason() -> None:
    """A list of those that wait for an input has no others; a reason that there is not is refused."""
    async with served(HANDLERS, registry={"capacity": 1}) as site:
        job = await site.submit("deaf")
        await (await site.jobs.get(job)).cancel()
        for reason, count in (("user", 1), ("awaiting_input", 0)):
            found = (await site.http.get("/v1/jobs", params={"reason": reason})).json()["jobs"]
            assert len(found) == count
        assert (await site.http.get("/v1/jobs?reason=bored")).status_code == 400


# ------------------------------------------------------------ WebSocket


async def send(socket: WebSocketConnection, re: int, job: str, *values: Any) -> None:
    request = {"op": "send", "id": re, "job": job, "values": values, "input_id": f"input {re}"}
    await socket.send_message(json.dumps(request))


class Uneven(MemoryStore):
    """A store that takes its time for each second input."""

    async def send(self, job_id: str, input_id: str, values: Sequence[Any]) -> int:
        """See `Store.send`."""
        for _ in range(20 if int(input_id.split()[1]) % 4 < 2 else 0):
            await trio.lowlevel.checkpoint()
        return await super().send(job_id, input_id, values)


async def test_sends_of_one_connection_keep_their_order() -> None:
    """Sends to a job that are under way at once are done in the order of their coming, the end last."""
    registry = {"store": Uneven(retention=Retention(inputs=MOST)), "capacity": 0}
    async with served(HANDLERS, registry=registry) as site, site.websocket() as socket:
        one, other = await site.submit("listen"), await site.submit("listen")
        for re in range(1, 29, 2):
            await send(socket, re, one, re)
            await send(socket, re + 1, other, re, "and")
        await socket.send_message(json.dumps({"op": "end_inputs", "id": 29, "job": one}))
        answers = {(found := await hear(socket))["re"]: found["seq"] for _ in range(29)}
        assert [answers[re] for re in range(1, 31, 2)] == list(range(2, 17))
        assert await inputs_of(site.jobs, one) == [
            *zip(range(2, 16), range(1, 29, 2), strict=True),
            (16, None),
        ]
        assert [value for _, value in await inputs_of(site.jobs, other)][::2] == list(range(1, 29, 2))


async def test_a_send_that_is_refused_holds_no_other_up() -> None:
    """Behind a refused send the next is done; an answer that was lost is asked for again by the same id."""
    async with served(HANDLERS, registry=KEPT) as site:
        job = await site.submit("write")
        async with site.websocket() as socket:
            await send(socket, 1, job, "wrong")
            await send(socket, 2, job, {"page": 1})
            found = sorted([await hear(socket), await hear(socket)], key=lambda reply: reply["re"])
            assert (found[0]["error"]["code"], found[1]["seq"]) == ("invalid_payload", 2)
        async with site.websocket() as socket:
            await send(socket, 2, job, {"page": 1})
            assert (await hear(socket))["seq"] == 2
            full = await ask(socket, op="send", id=3, job=job, values=[{"page": 0}] * MOST, input_id="more")
            error = full["error"]
            assert (error["code"], error["unconsumed"], error["limit"]) == ("inbox_full", 1, str(MOST))
