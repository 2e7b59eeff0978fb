"""The chat page of the docs, built as they say, and used as people do, on Node.js."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.serving.fronts.node import PACKAGES, needs, run
from tests.serving.served import served
from trio_jobs import JobContext, handler
from trio_jobs.serving import ai_sdk_front

PAGE: Final = Path(__file__).parents[4] / "docs" / "ai-sdk-page"


@handler
async def chat(job: JobContext[Any], messages: list[dict[str, Any]]) -> None:
    """Think, then say two words; with a rest between them that never ends, if that is asked for."""
    await job.send({"reasoning": "hm "})
    await job.send("here ")
    if messages[-1]["parts"][0]["text"] == "forever":
        await trio.sleep_forever()
    await job.send("bye")


@pytest.mark.deep  # it starts processes
async def test_a_page_shows_answers_and_comes_back_and_stops(tmp_path: Path) -> None:
    """It shows what comes; loaded anew meanwhile it shows the same, and its stop stops the job for both."""
    needs("esbuild")
    needs("@ai-sdk/react")
    built = tmp_path / "page.js"
    build = [
        str(PACKAGES / ".bin" / "esbuild"),
        "page.jsx",
        "--bundle",
        "--jsx=automatic",
        f"--outfile={built}",
    ]
    await trio.run_process(
        build, cwd=PAGE, env={**os.environ, "NODE_PATH": str(PACKAGES)}, capture_stderr=True
    )
    async with served([chat], fronts=[ai_sdk_front("chat")], patience=120) as site:
        found = await run(Path(__file__).with_name("page.mjs"), f"{site.url}/api/chat", str(built))
        states = sorted(one.state for one in await site.jobs.find())
    hello = [["user", "hello"], ["assistant", "hm here bye"]]
    assert found["answered"] == hello
    assert found["first"] == found["second"] == [*hello, ["user", "forever"], ["assistant", "hm here "]]
    assert states == ["cancelled", "completed"]
