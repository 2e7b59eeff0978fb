"""The chat page of the docs, built as they say, and used as people do, in a real browser."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from playwright.sync_api import Page, expect

from tests.serving.fronts.node import PACKAGES, needs
from tests.serving.page.chromium import Browser
from tests.serving.served import Site, served
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


async def build(page: Path, api: str) -> None:
    """Build the page in a folder, for a server."""
    index = (PAGE / "index.html").read_text()
    (page / "index.html").write_text(index.replace("http://127.0.0.1:8000", api))
    esbuild = [PACKAGES / ".bin" / "esbuild", "page.jsx", "--bundle", "--jsx=automatic"]
    await trio.run_process(
        [*map(str, esbuild), f"--outfile={page / 'page.js'}"],
        cwd=PAGE,
        env={**os.environ, "NODE_PATH": str(PACKAGES)},
        capture_stderr=True,
    )


@contextmanager
def another_site(folder: Path) -> Generator[str]:
    """Serve a folder from an address of its own, and yield that."""
    files = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def say(page: Page, text: str) -> None:
    """Send a message."""
    page.get_by_role("textbox").fill(text)
    page.get_by_role("button", name="Send").click()


def answer_twice_and_stop(page: Page, _: Site, address: str) -> None:
    """Read an answer, load the page in a second tab amid the next one, and stop it there."""
    page.context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    page.goto(f"{address}/#chat-1")
    said = page.locator("article")
    say(page, "hello")
    expect(said).to_have_text(["hello", "hm here bye"])
    say(page, "forever")
    expect(said.last).to_have_text("hm here ")
    other = page.context.new_page()
    other.goto(page.url)
    told = ["hello", "hm here bye", "forever", "hm here "]
    expect(other.locator("article")).to_have_text(told)
    other.get_by_role("button", name="Stop").click()
    for each in (page, other):
        expect(each.get_by_role("button", name="Send")).to_be_visible()
        expect(each.locator("article")).to_have_text(told)
        expect(each.get_by_role("alert")).to_have_count(0)


@pytest.mark.deep  # it starts processes
@pytest.mark.xdist_group("browser")
async def test_a_page_shows_answers_and_comes_back_and_stops(tmp_path: Path, browser: Browser) -> None:
    """On another site than the server, it shows what comes; loaded anew meanwhile, in a second tab, it shows
    the same, and a stop there stops the job for both."""
    needs("esbuild")
    needs("@ai-sdk/react")
    with another_site(tmp_path) as address:
        async with served([chat], fronts=[ai_sdk_front("chat")], origins=[address], patience=120) as site:
            await build(tmp_path, site.url)
            await browser.run(answer_twice_and_stop, site, {}, address=address)
            assert sorted(one.state for one in await site.jobs.find()) == ["cancelled", "completed"]
