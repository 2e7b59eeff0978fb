"""A real Chromium, driven from a thread of its own, and tests that are scripts for it."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import trio
from playwright.sync_api import Page, expect, sync_playwright

if TYPE_CHECKING:
    from .site import Site

_PARAMETER = inspect.Parameter.POSITIONAL_OR_KEYWORD

PATIENCE = 15.0  # seconds for what should take none, on a busy machine
SWITCHES = [
    "--no-sandbox",  # Chromium has none as root, in containers
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What a browser says of a connection that is refused, which here happens on purpose.
_EXPECTED = (
    "WebSocket connection to",
    "Failed to load resource: net::ERR_CONNECTION_REFUSED",
    "Failed to load resource: the server responded with a status of 401",
)


def chromium() -> str:
    """Return where Chromium is. Without one the test is skipped, but under CI it fails."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) is not None:
            return found
    why = "there is no Chromium here; the live page is tested in a real browser: apt-get install chromium"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


class Served(Protocol):
    """What a browser can go to."""

    @property
    def url(self) -> str:
        """Its address."""
        ...


class Browser:
    """One Chromium for the whole run. Playwright wants to be used from the thread that started it."""

    def __init__(self, executable: str) -> None:
        self._executable = executable
        self._thread = ThreadPoolExecutor(1, "browser")
        self._thread.submit(self._start).result()

    def _start(self) -> None:
        self._playwright = sync_playwright().start()
        self._chromium = self._playwright.chromium.launch(executable_path=self._executable, args=SWITCHES)
        expect.set_options(timeout=PATIENCE * 1000)

    def _stop(self) -> None:
        self._chromium.close()
        self._playwright.stop()

    def stop(self) -> None:
        """Close it."""
        self._thread.submit(self._stop).result()
        self._thread.shutdown()

    async def run(
        self, script: Callable[..., None], site: Served, context: dict[str, Any], **values: Any
    ) -> None:
        """Run a script with a new page, while the server runs here.

        Fails if the page violates its policy, raises, or prints an error.
        """
        future = self._thread.submit(self._run, script, site, context, values)
        await trio.to_thread.run_sync(future.result)

    def _run(
        self, script: Callable[..., None], site: Served, context: dict[str, Any], values: dict[str, Any]
    ) -> None:
        errors: list[str] = []
        with self._chromium.new_context(base_url=site.url, **context) as opened:
            opened.set_default_timeout(PATIENCE * 1000)
            page = opened.new_page()
            page.on("pageerror", lambda error: errors.append(f"raised: {error}"))
            page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
            script(page, site, **values)
        assert not [error for error in errors if not error.startswith(_EXPECTED)], errors


def in_browser(**context: Any) -> Callable[[Callable[..., None]], Callable[..., Awaitable[None]]]:
    """Make a test of a script that takes a page, a site, and perhaps more fixtures and parameters.

    Args:
        context: How the browser is, as Playwright's `new_context` takes it.
    """

    def decorate(script: Callable[..., None]) -> Callable[..., Awaitable[None]]:
        async def test(browser: Browser, site: Site, **values: Any) -> None:
            await browser.run(script, site, context, **values)

        test.__name__, test.__doc__, test.__module__ = script.__name__, script.__doc__, script.__module__
        wanted = list(inspect.signature(script).parameters.values())[2:]
        first = [inspect.Parameter(name, _PARAMETER) for name in ("browser", "site")]
        setattr(test, "__signature__", inspect.Signature([*first, *wanted]))  # noqa: B010  # no type knows it
        return test

    return decorate


def open_page(page: Page, job: str = "") -> None:
    """Load the page, and wait until it is connected, and knows what its user may do."""
    page.goto(f"/#job={job}" if job else "/")
    expect(page.locator("#connection")).to_have_text("Connected")
    page.wait_for_selector("body[data-may]")


def expect_state(page: Page, state: str) -> None:
    """Wait until the selected job is in a state."""
    expect(page.locator("#job-state .word")).to_have_text(state)
