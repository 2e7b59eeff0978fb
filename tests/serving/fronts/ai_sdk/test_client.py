"""The AI SDK's own client, the newest two majors, on Node.js: it drops, resumes, stops, and reads twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.serving.fronts.node import needs, run
from tests.serving.proxy import Weather, open_proxy
from tests.serving.served import served
from trio_jobs import JobContext, Retry, handler
from trio_jobs.serving import ai_sdk_front

CLIENT: Final = Path(__file__).with_name("client.mjs")
RUNS: Final = 12
WORDS: Final = [f"word-{number} " for number in range(40)]
CALL: Final = {"toolCallId": "c1", "toolName": "look_up"}


@handler(retry=Retry(attempts=2, initial=0.0))
async def chat(job: JobContext[Any], messages: list[dict[str, Any]]) -> None:
    """Think, look something up, answer; answer anew, once; go on for ever, or fail, if that is asked for."""
    asked = messages[-1]["parts"][0]["text"]
    await job.send({"reasoning": "Hm"})
    if asked == "fail":
        raise ValueError("no /home/ann/secret")
    if asked == "forever":
        await job.send("here")
        await trio.sleep_forever()
    if job.attempt == 1:
        await job.send("a first ")
        await job.send("try")
        raise ConnectionError("cut off")
    await job.send({"type": "tool-input-available", **CALL, "input": {"word": 1}, "dynamic": True})
    await job.send({"type": "tool-output-available", "toolCallId": "c1", "output": 2})
    for number, word in enumerate(WORDS):
        await job.send(word)
        await job.progress(number, len(WORDS))
        await trio.sleep(0.001)  # so that it is read while it runs


async def drive(package: str) -> Any:
    """Run the client against a server, and a network that cuts, and return what it says."""
    async with (
        served([chat], fronts=[ai_sdk_front("chat")], patience=120) as site,
        open_proxy(site.url, Weather(life=16_000, piece=700)) as proxy,
    ):
        return await run(CLIENT, package, site.url, proxy.url, str(RUNS))


def told(parts: list[Any]) -> list[Any]:
    """Return what a message shows, in order."""
    found: list[Any] = []
    for part in parts:
        match part["type"]:
            case "text" | "reasoning":
                assert part["state"] == "done"
                found.append((part["type"], part["text"]))
            case "data-restart":
                found.append(("restart", part["data"]))
            case other:
                found.append((other, part.get("toolName"), part.get("input"), part.get("output")))
    return found


ANSWER: Final = [
    ("reasoning", "Hm"),
    ("text", "a first try"),
    ("restart", {"attempt": 2, "reason": "error"}),
    ("reasoning", "Hm"),
    ("dynamic-tool", "look_up", {"word": 1}, 2),
    ("text", "".join(WORDS)),
]


@pytest.mark.deep  # it starts a process
@pytest.mark.parametrize("package", ["ai", "ai7"])
async def test_the_client_reads_the_whole_answer_once(package: str) -> None:
    """However often its connection is cut, and wherever, the message has all parts, in order, once; a stop
    ends both tabs with an abort; a page that is loaded anew, and a second click, read the one answer."""
    needs(package)
    found = await drive(package)

    for one in found["drops"]:
        assert told(one["parts"]) == ANSWER
        assert one["messages"] == 2
    assert sum(one["drops"] for one in found["drops"]) >= RUNS // 4, "the network has hardly cut anything"

    stop = found["stopped"]
    assert [one["outcome"] for one in stop["answer"]["stopped"]] == ["cancelled"]
    assert stop["ends"] == ["abort", "abort"]
    assert [told(one["parts"]) for one in stop["messages"]] == [[("reasoning", "Hm"), ("text", "here")]] * 2
    assert stop["rest"] is None

    assert told(found["reloaded"]["parts"]) == ANSWER
    assert found["reloaded"]["messages"] == 2
    first, second = found["twice"]
    assert first == second
    assert told(first["parts"]) == ANSWER

    failed = found["failed"]
    assert (failed["error"], failed["status"]) == ("the job failed: an error happened", "error")
