"""Make docs/live-page.png, a picture of the live page as it runs: `python docs/picture_live_page.py`.

It needs Chromium, and the extra `test`.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import trio
from playwright.sync_api import expect, sync_playwright

from trio_jobs import JobContext, JobRegistry, Priority, Retry, handler, open_registry
from trio_jobs.serving import serve_http

PICTURE = Path(__file__).with_name("live-page.png")
SIZE: Any = {"width": 1180, "height": 760}
TEXT = """\
A nursery is a block of code that does not end before everything that was started in it has ended. So a \
function that opens one, and starts ten tasks in it, is still a function: when it returns, the ten tasks \
are over, and what any of them raised comes out of the call.

A job has a nursery of its own. To cancel the job is to cancel that nursery, and the report that comes \
back says when it had closed. Nothing is left running behind it: no connection, no subprocess, no tokens \
that nobody reads.

Who reads a job's log is another matter. A reader is a cursor into the log. It may come late, and then it \
sees what was streamed before; it may be cut off, and then it goes on behind its cursor, with no gap and \
"""
LAST = "no gap"


@handler
async def explain(job: JobContext[str], topic: str, words: int = 160) -> int:
    """Explain a topic, word by word."""
    for number, word in enumerate(TEXT.split(" ")):
        await job.progress(number, words, f"writing about {topic}")
        await job.send(f"{word} ")
        await trio.sleep(0.02)
    await trio.sleep_forever()
    return words


@handler
async def summarize(job: JobContext[str], pages: int) -> str:
    """Summarize some pages."""
    await job.send("…")
    await trio.sleep(0.3)
    return f"{pages} pages in one sentence"


@handler(retry=Retry(attempts=3, initial=3600.0))
async def translate(job: JobContext[str], language: str) -> None:
    """Translate into a language."""
    await job.progress(0, message="connecting")
    raise ConnectionError(f"no answer from the model for {language}")


@handler
async def index(job: JobContext[str], folder: str) -> None:
    """Index a folder."""
    await job.progress(0, message=f"looking at {folder}")
    await trio.sleep_forever()


async def submit_all(jobs: JobRegistry) -> str:
    """Submit jobs that look like a working day, and return the id of the one to show."""
    for pages in (12, 40):
        await jobs.submit(summarize, pages, tags={"user": "7"})
    await (await jobs.submit(index, "/old", tags={"team": "search"})).cancel("superseded")
    await jobs.submit(translate, "nl", tags={"user": "12"})
    await jobs.submit(summarize, 3, tags={"user": "12"}, delay=600)
    await jobs.submit(index, "/docs", tags={"team": "search"})
    tags = {"user": "7", "model": "small"}
    handle = await jobs.submit(explain, "nurseries", tags=tags, timeout=300, priority=Priority.HIGH)
    return handle.id


def take_picture(url: str, job: str) -> None:
    """Look at a job with a browser."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        switches = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=executable, args=switches)
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(f"{url}/#job={job}")
        expect(page.locator("#job-log")).to_contain_text(LAST, timeout=30_000)
        expect(page.locator("section[data-states^=completed] .row")).to_have_count(3)
        page.screenshot(path=PICTURE)
        browser.close()


async def main() -> None:
    """Run the jobs, serve them, and take the picture."""
    handlers = [explain, summarize, translate, index]
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_registry(f"sqlite:///{folder}/jobs.db", handlers=handlers, grace=0, name="worker-1") as jobs,
            trio.open_nursery() as nursery,
        ):
            (url,) = await nursery.start(partial(serve_http, jobs, port=0))
            await trio.to_thread.run_sync(take_picture, url, await submit_all(jobs))
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
