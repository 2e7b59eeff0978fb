"""The front for the AI SDK over a real socket: submitting, resuming, stopping, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from tests.serving.served import EventStream, Site, follow, served
from trio_jobs import JobContext, Retry, State, UnknownHandler, handler, open_registry
from trio_jobs.serving import Caller, ai_sdk_front, serve_http
from trio_jobs.serving.fronts.ai_sdk.front import Turn

PATIENCE = 30.0  # as those of the other fronts
HELLO = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}


@handler
async def chat(
    job: JobContext[Any], messages: list[dict[str, Any]], shout: bool = False, slow: bool = False
) -> None:
    """Repeat the last message, word by word."""
    for word in messages[-1]["parts"][0]["text"].split(" "):
        await job.send(word.upper() if shout else word)
    if slow:
        await trio.sleep_forever()


def turn(said: str = "hello", message: str = "m1", chat_id: str = "c1", **more: Any) -> dict[str, Any]:
    """Return the body of a POST."""
    spoken = {**HELLO, "id": message, "parts": [{"type": "text", "text": said}]}
    return {"id": chat_id, "messages": [spoken], "trigger": "submit-message", **more}


def frames(text: str) -> list[Any]:
    """Return the frames of a stream; the last one may be its end."""
    return [
        "done" if one == "[DONE]" else json.loads(one)
        for block in text.split("\n\n")
        for one in [block.removeprefix("data: ")]
        if block.startswith("data: ")
    ]


def text_of(found: list[Any]) -> str:
    return "".join(one["delta"] for one in found if one != "done" and one["type"] == "text-delta")


class Reader(EventStream):
    """Reads the frames of one stream."""

    async def until(self, kind: str) -> Any:
        """Return the next frame of a type."""
        while True:
            text = await self.block()
            assert text is not None, f"no {kind} came"
            if text.startswith("data: {") and (frame := json.loads(text[6:]))["type"] == kind:
                return frame

    async def rest(self) -> list[Any]:
        """Return the frames that are left."""
        found = ""
        while (text := await self.block()) is not None:
            found += text
        return frames(found)

    async def leave(self) -> None:
        """Drop the connection."""
        await trio.aclose_forcefully(self.wire.stream)


async def reading(site: Site, path: str) -> Reader:
    """Open a stream."""
    found = await follow(site, f"/api/chat/c1/stream{path}")
    assert found.head.status == 200
    return Reader(found.wire, found.head)


async def posting(site: Site, body: Any, *headers: str) -> Reader:
    """Send a message, and open the stream of its answer."""
    data = json.dumps(body).encode()
    wire = await site.connect()
    more = ("Content-Type: application/json", f"Content-Length: {len(data)}", *headers)
    await wire.say("POST /api/chat HTTP/1.1", *more, body=data)
    head = await wire.head()
    assert head.status == 200
    return Reader(wire, head)


async def jobs_of(site: Site) -> list[Any]:
    return list(await site.jobs.find(tags={"chat": "c1"}))


front = partial(served, [chat], fronts=[ai_sdk_front("chat")], patience=PATIENCE)


async def test_a_message_is_answered_by_a_job() -> None:
    """The answer has the protocol's header, the job's id as that of the message, and ends marked."""
    async with front() as site:
        answer = await site.http.post("/api/chat", json=turn("hello you", shout=True))
        (job,) = await jobs_of(site)
        assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        first, *others, finish, done = frames(answer.text)
        assert first == {"type": "start", "messageId": job.id}
        assert text_of(others) == "HELLOYOU"
        assert (finish, done) == ({"type": "finish", "finishReason": "stop"}, "done")
        assert not answer.text.startswith("retry:")


async def test_the_same_message_is_the_same_job() -> None:
    """A double click, while the job runs and after, reads the one answer, also with other fields besides;
    another message is another job."""
    async with front() as site:
        await (await posting(site, turn("hello you"))).until("start")
        again = turn("hello you", messageId="m1")  # as `sendMessage()` sends it again
        bodies = [turn("hello you"), again, turn("hello you", shout=True)]
        first, *others = [await site.http.post("/api/chat", json=body) for body in bodies]
        assert text_of(frames(first.text)) == "helloyou"
        assert [one.text for one in others] == [first.text, first.text]
        assert len(await jobs_of(site)) == 1
        other = await site.http.post("/api/chat", json=turn("bye", "m2"))
        assert text_of(frames(other.text)) == "bye"
        assert len(await jobs_of(site)) == 2


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"messages": [{**HELLO, "id": "m0"}, dict(reversed(HELLO.items()))]}, True),
        ({"messages": [HELLO, {**HELLO, "id": "m2"}]}, False),
        ({"id": "c2"}, False),
        ({"trigger": "regenerate-message", "messageId": "m1"}, False),
    ],
)
def test_a_message_is_the_same_by_its_chat_and_itself(changes: dict[str, Any], *, same: bool) -> None:
    """What was said before it makes no other message of it, nor does the order of its fields."""
    first, second = [msgspec.convert(body, Turn).key("chat") for body in (turn(), {**turn(), **changes})]
    assert (first == second) is same
    assert msgspec.convert(turn(), Turn).key("other") != first


async def test_an_answer_can_be_asked_for_anew() -> None:
    """Regenerating is a new job each time; of a message that is named, the same one if it is sent twice."""
    async with front() as site:
        again = turn(trigger="regenerate-message")
        for body in (turn(), again, again, {**again, "messageId": "a1"}, {**again, "messageId": "a1"}):
            await site.http.post("/api/chat", json=body)
        assert len(await jobs_of(site)) == 4


async def test_a_reader_leaves_and_comes_back_and_stops_the_job() -> None:
    """The job outlives its reader; who comes back reads all of it; a stop cancels it, and both readers, this
    one and another one, see that; then there is nothing to resume, but the message can still be read."""
    async with front() as site:
        first = await posting(site, turn("hello you", slow=True))
        job_id = (await first.until("start"))["messageId"]
        await first.leave()
        tabs = [await reading(site, ""), await reading(site, f"?message={job_id}")]
        for tab in tabs:
            assert (await tab.until("start"))["messageId"] == job_id
            assert (await tab.until("text-delta"))["delta"] == "hello"
        stopped = await site.http.post("/api/chat/c1/stop")
        assert stopped.status_code == 200
        assert stopped.json() == {"stopped": [{"message": job_id, "outcome": "cancelled"}]}
        assert (await (await site.jobs.get(job_id)).snapshot()).state is State.CANCELLED
        for tab in tabs:
            assert (await tab.rest())[-2:] == [{"type": "abort", "reason": "user"}, "done"]
        assert (await site.http.get("/api/chat/c1/stream")).status_code == 204
        assert (await site.http.post("/api/chat/c1/stop")).json() == {"stopped": []}
        late = await site.http.get(f"/api/chat/c1/stream?message={job_id}")
        assert text_of(frames(late.text)) == "helloyou"


@pytest.mark.parametrize("on_busy", ["reject", "after", "cancel"])
async def test_a_second_message_before_the_first_is_answered(on_busy: Any) -> None:
    """It is refused, waits, or takes the place of the first, as the front was told; a stop ends them all."""
    async with served([chat], fronts=[ai_sdk_front("chat", on_busy=on_busy)], patience=PATIENCE) as site:
        first = await posting(site, turn(slow=True))
        await first.until("text-delta")
        if on_busy == "reject":
            refused = await site.http.post("/api/chat", json=turn("bye", "m2"))
            assert (refused.status_code, refused.json()["code"]) == (409, "busy")
            assert (await site.http.post("/api/chat", json=turn(chat_id="c2"))).status_code == 200
            return
        second = await posting(site, turn("bye", "m2", slow=True))
        newest = (await second.until("start"))["messageId"]
        assert (await (await reading(site, "")).until("start"))["messageId"] == newest
        if on_busy == "cancel":
            assert (await first.rest())[-2:] == [{"type": "abort", "reason": "user"}, "done"]
            assert (await second.until("text-delta"))["delta"] == "bye"
        stopped = (await site.http.post("/api/chat/c1/stop")).json()["stopped"]
        assert len(stopped) == (1 if on_busy == "cancel" else 2)
        assert stopped[0] == {"message": newest, "outcome": "cancelled"}
        rest = await second.rest()
        assert rest[-2]["type"] == "abort"
        assert text_of(rest) == ""


async def test_a_stop_that_is_not_proven_says_so(socket_clock: trio.testing.MockClock) -> None:
    """A job that has not stopped in time may go on: the stop is answered with 202."""
    go_on = trio.Event()

    @handler
    async def chat(job: JobContext[str], messages: list[Any]) -> None:
        with trio.CancelScope(shield=True):
            await job.send("on it")
            await go_on.wait()

    async with served([chat], fronts=[ai_sdk_front("chat")], patience=PATIENCE) as site:
        reader = await posting(site, turn())
        await reader.until("text-delta")
        wire = await site.connect()
        await wire.say("POST /api/chat/c1/stop HTTP/1.1", "Content-Length: 0")
        answer = await wire.answer()
        go_on.set()
        assert answer.status == 202
        assert b'"outcome":"stuck"' in answer.body


async def test_a_late_stop_stops_only_the_message_that_it_names() -> None:
    """A stop of a message whose job has ended lets the job of the next one run."""
    async with front() as site:
        first = frames((await site.http.post("/api/chat", json=turn())).text)[0]["messageId"]
        await (await posting(site, turn("bye", "m2", slow=True))).until("text-delta")
        stopped = await site.http.post(f"/api/chat/c1/stop?message={first}")
        assert stopped.json() == {"stopped": [{"message": first, "outcome": "already_over"}]}
        assert (await site.http.get("/api/chat/c1/stop")).status_code == 405
        assert [job.state for job in await jobs_of(site)] == [State.COMPLETED, State.RUNNING]


async def test_a_new_attempt_by_choice_ends_the_stream() -> None:
    """With `error`, the stream ends with an error when the job begins anew, and a resumed one has the new
    attempt only; without, it has both."""
    go_on = trio.Event()

    @handler(retry=Retry(attempts=2, initial=0.0))
    async def chat(job: JobContext[str], messages: list[Any]) -> None:
        await job.send(f"try {job.attempt}")
        if job.attempt == 1:
            raise ValueError("no /home/ann")
        await go_on.wait()

    fronts = [ai_sdk_front("chat", restarts="error"), ai_sdk_front("chat", path="/whole")]
    async with served([chat], fronts=fronts, patience=PATIENCE) as site:
        broken = frames((await site.http.post("/api/chat", json=turn())).text)
        assert (text_of(broken), broken[-2]["type"]) == ("try 1", "error")
        reader = await reading(site, "")
        assert (await reader.until("text-delta"))["delta"] == "try 2"
        whole = await follow(site, "/whole/c1/stream")
        assert (await Reader(whole.wire, whole.head).until("text-delta"))["delta"] == "try 1"
        go_on.set()
        assert (await reader.rest())[-2]["type"] == "finish"


async def test_a_stopping_server_says_so() -> None:
    """A stream that is not whole ends with an error: clients take a quiet end for that of the message."""
    async with front() as site:
        reader = await posting(site, turn(slow=True))
        await reader.until("text-delta")
        site.stop()
        *_, error, done = await reader.rest()
        assert (error["type"], done) == ("error", "done")


CALLERS = {"ann": Caller("ann"), "bob": Caller("bob"), "eve": Caller("ann", may="read")}


async def by_name(headers: Mapping[str, str]) -> Caller | None:
    """Authenticate the name in the header."""
    return CALLERS.get(headers.get("authorization", ""))


async def test_a_chat_is_its_owners() -> None:
    """Another owner neither reads nor stops it, nor shares it by the same ids; who may only read reads."""
    async with front(authenticate=by_name) as site:
        reader = await posting(site, turn(slow=True), "Authorization: ann")
        job_id = (await reader.until("start"))["messageId"]
        named = f"?message={job_id}"
        for who, method, what, status in (
            ("", "GET", "stream", 401),
            ("", "POST", f"stop{named}", 401),
            ("bob", "GET", "stream", 204),
            ("bob", "GET", f"stream{named}", 404),
            ("bob", "POST", f"stop{named}", 404),
            ("eve", "POST", f"stop{named}", 403),
        ):
            headers = {"authorization": who}
            answer = await site.http.request(method, f"/api/chat/c1/{what}", headers=headers)
            assert answer.status_code == status, (who, method, what)
        read = await follow(site, "/api/chat/c1/stream", "Authorization: eve")
        assert read.head.status == 200
        own = await site.http.post("/api/chat", json=turn(), headers={"authorization": "bob"})
        assert text_of(frames(own.text)) == "hello"


REFUSED = [
    ({"json": {}}, 400, "bad_request"),
    ({"json": {**turn(), "messages": []}}, 400, "bad_request"),
    ({"json": {**turn(), "id": ""}}, 400, "bad_request"),
    ({"json": {**turn(), "id": "x" * 201}}, 400, "bad_request"),
    ({"json": [turn()]}, 400, "bad_request"),
    ({"json": turn(shout="yes")}, 422, "invalid_payload"),
    ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "wrong_type"),
]


@pytest.mark.parametrize(("request_", "status", "code"), REFUSED)
async def test_what_does_not_fit_is_refused(request_: Any, status: int, code: str) -> None:
    """A body that is no turn of a chat is refused, and is no job."""
    async with front() as site:
        answer = await site.http.post("/api/chat", **request_)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert not await jobs_of(site)


async def test_what_is_not_there_is_refused() -> None:
    """A job of another chat or another handler, an unknown one and an unknown parameter are refused."""

    @handler
    async def poem(job: JobContext[Any], messages: list[Any]) -> None:
        """Has a front of its own."""

    fronts = [ai_sdk_front("chat"), ai_sdk_front("poem", path="/api/poem")]
    async with served([chat, poem], fronts=fronts, patience=PATIENCE) as site:
        other = frames((await site.http.post("/api/chat", json=turn(chat_id="c/2"))).text)[0]["messageId"]
        for what, status in ((f"message={other}", 404), ("message=none", 404), ("mesage=x", 400)):
            assert (await site.http.get(f"/api/chat/c1/stream?{what}")).status_code == status
            assert (await site.http.post(f"/api/chat/c1/stop?{what}")).status_code == status
        assert (await site.http.get(f"/api/chat/c/2/stream?message={other}")).status_code == 200
        assert (await site.http.get(f"/api/poem/c/2/stream?message={other}")).status_code == 404
        live = await posting(site, turn("bye", "m2", "c/2", slow=True))
        await live.until("text-delta")
        assert (await site.http.get("/api/poem/c/2/stream")).status_code == 204
        assert (await site.http.post("/api/poem/c/2/stop")).json() == {"stopped": []}
        assert len((await site.http.post("/api/chat/c/2/stop")).json()["stopped"]) == 1


async def test_arguments_are_the_fields_that_have_a_parameter() -> None:
    """Fields of the body fill parameters by name; one that is missing is named in the refusal."""

    @handler
    async def choosy(job: JobContext[str], messages: list[Any], depth: int = 1, *, model: str) -> None:
        await job.send(f"{model} {depth}")

    async with served([choosy], fronts=[ai_sdk_front("choosy", path="/other")], patience=PATIENCE) as site:
        refused = await site.http.post("/other", json=turn())
        assert refused.status_code == 400
        assert "takes 'model', which this request does not have" in refused.json()["detail"]
        taken = await site.http.post("/other", json=turn(model="big"))
        assert text_of(frames(taken.text)) == "big 1"


async def test_what_a_front_cannot_be_is_told_at_once() -> None:
    """An unknown handler, and options of wrong kinds, are errors before anything is served."""
    async with open_registry(handlers=[chat]) as jobs:
        with pytest.raises(UnknownHandler, match="chatt"):
            await serve_http(jobs, port=0, fronts=[ai_sdk_front("chatt")])
    for wrong, says in (
        ({"on_busy": "maybe"}, "on_busy"),
        ({"restarts": "raise"}, "restarts"),
        ({"path": "api"}, "slash"),
        ({"path": "/api/"}, "slash"),
    ):
        with pytest.raises(ValueError, match=says):
            ai_sdk_front("chat", **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name of a handler"):
        ai_sdk_front(chat)  # type: ignore[arg-type]
