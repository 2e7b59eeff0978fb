"""The output of a job on the page: its parts, as Markdown, copied, saved, replayed; and what it costs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, WebSocket, expect

from trio_jobs import Retry

from .chromium import expect_state, in_browser, open_page
from .site import Site

pytestmark = [pytest.mark.deep, pytest.mark.xdist_group("browser")]

ALLOWED = ["clipboard-read", "clipboard-write"]
HEBREW = "\u05e9\u05dc\u05d5\u05dd"
NODES = "document.querySelectorAll('#job-log, #job-log *').length"


def shown(page: Page) -> tuple[int, int, int]:
    """Return the first and the last of the events that are shown, and how many there are."""
    said = page.locator("#job-left-out").inner_text()
    first, last, of = (int(number.replace(",", "")) for number in re.findall(r"[\d,]+", said))
    return first, last, of


def numbers(page: Page) -> list[int]:
    """Return the number at the beginning of each line of the output."""
    lines = page.locator("#job-log").evaluate("(log) => log.textContent.match(/\\d+(?= x)/g)")
    return [int(line) for line in lines]


@in_browser()
def test_text_is_shown_as_markdown_if_that_is_chosen_for_its_handler(page: Page, site: Site) -> None:
    """Text that streams in pieces becomes one document, other values stay JSON, and the choice is kept."""
    parts = ["# Ti", "tle\n\n**bo", "ld** <b>x</b>\n\n```\n*a", "*\n", {"k": "*v*"}, "_it_"]
    job = site.submit("tell", parts)
    open_page(page, job)
    expect_state(page, "completed")
    log = page.locator("#job-log")
    expect(log).to_contain_text("# Title")
    page.get_by_role("button", name="Markdown").click()
    expect(log.locator("h4")).to_have_text("Title")
    expect(log.locator("strong")).to_have_text("bold")
    expect(log.locator("pre")).to_have_text("*a*\n")
    expect(log.locator("em")).to_have_text("it")
    expect(log).to_contain_text('{"k":"*v*"}')
    expect(log).to_contain_text("<b>x</b>")
    page.reload()
    expect(log.locator("h4")).to_have_text("Title")
    page.get_by_role("button", name="Markdown").click()
    expect(log.locator("h4")).to_have_count(0)
    expect(log).to_contain_text("**bold**")


@in_browser()
def test_markdown_follows_a_job_that_streams(page: Page, site: Site) -> None:
    """What arrives later joins what is there, and each attempt begins anew."""
    job = site.submit("wait", 3)
    open_page(page, job)
    site.step()
    page.get_by_role("button", name="Markdown").click()
    site.step(2)
    expect_state(page, "completed")
    expect(page.locator("#job-log p")).to_have_text("0 1 2")


@in_browser(permissions=ALLOWED)
def test_output_is_copied_and_saved_as_text(page: Page, site: Site, tmp_path: Path) -> None:
    """Copied is what is shown, saved is all: strings joined, other values and attempts on their own lines."""
    retry = Retry(attempts=2, initial=0)
    job = site.submit("tell", ["a ", "**b**", {"c": 1}, "d"], 1, retry=retry)
    open_page(page, job)
    expect_state(page, "completed")
    once = 'a **b**\n{"c":1}\nd'
    text = f"{once}\n[attempt 2]\n{once}"
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#log-copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == text
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename == f"tell-{job}.txt"
    saved.value.save_as(tmp_path / "log.txt")
    assert (tmp_path / "log.txt").read_text() == text


@in_browser()
def test_nothing_can_be_done_with_an_output_that_is_empty(page: Page, site: Site) -> None:
    """A job that streams has buttons for its output; one that failed before it sent anything has none."""
    open_page(page, site.submit("fail", "at once"))
    expect_state(page, "failed")
    expect(page.locator("#log-tools")).to_be_hidden()
    open_page(page, site.submit("count", 1))
    expect(page.locator("#log-tools")).to_be_visible()


@in_browser(permissions=ALLOWED)
def test_reasoning_is_apart_from_the_answer(page: Page, site: Site) -> None:
    """Tokens that are just reasoning are joined and dimmed, are no Markdown, and are marked in the copy."""
    thoughts = [{"reasoning": "*Hm*"}, {"reasoning": "!\nSo."}]
    other = {"no": 1, "reasoning": "m"}
    job = site.submit("tell", [*thoughts, "**H", "i**", {"reasoning": "?"}, other])
    open_page(page, job)
    expect_state(page, "completed")
    page.get_by_role("button", name="Markdown").click()
    reasoning = page.locator("#job-log .reasoning")
    expect(reasoning).to_have_text(["*Hm*!\nSo.", "?"])
    expect(page.locator("#job-log strong")).to_have_text("Hi")
    colour = "(one) => getComputedStyle(one).color"
    assert reasoning.first.evaluate(colour) != page.locator("#job-log strong").evaluate(colour)
    expect(page.locator("#job-log")).to_contain_text('{"no":1,"reasoning":"m"}')
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#log-copy")).to_have_text("Copied")
    text = '[reasoning] *Hm*!\nSo.\n**Hi**\n[reasoning] ?\n{"no":1,"reasoning":"m"}\n'
    assert page.evaluate("navigator.clipboard.readText()") == text


@in_browser()
def test_a_long_output_is_read_to_its_beginning_and_back(page: Page, site: Site) -> None:
    """Earlier parts come before what is read, later ones behind it; what is read stays in place, and the end
    of a job that runs is followed again only when it is reached."""
    job = site.submit("burst", 12_000)
    open_page(page, job)
    expect_state(page, "completed")
    log = page.locator("#job-log")
    expect(log).to_contain_text("11999 xxx")
    first, last, of = shown(page)
    assert last == of
    while page.locator("#log-earlier").is_visible():
        log.evaluate("(log) => { log.scrollTop = 0; }")
        page.locator("#log-earlier").click()
        page.wait_for_function(
            "(before) => document.querySelector('#job-left-out').textContent !== before",
            arg=f"Events {first:,} to {last:,} of {of:,} are shown.",
        )
        read = f"{first - 2} xxx"  # the job's events begin with two that are not shown
        expect(log).to_contain_text(read)
        first, last, of = shown(page)
        assert numbers(page) == list(range(max(first - 3, 0), last - 2))
        assert log.evaluate("(log) => log.scrollTop") > 0
    assert first == 1
    expect(log).to_contain_text("0 xxx")
    assert last < of
    while page.locator("#log-later").is_visible():
        before = page.locator("#job-left-out").inner_text()
        read = f"{last - 3} xxx"
        page.locator("#log-later").click()
        page.wait_for_function(
            "(before) => document.querySelector('#job-left-out').textContent !== before", arg=before
        )
        expect(log).to_contain_text(read)
        expect(page.locator("#log-earlier")).to_be_enabled()
        first, last, of = shown(page)
        assert numbers(page) == list(range(numbers(page)[0], min(last - 2, 12_000)))
    expect(log).to_contain_text("11999 xxx")
    page.locator("#log-earlier").click()
    page.locator("#log-earlier").click()
    page.locator("#log-end").click()
    expect(log).to_contain_text("11999 xxx")
    expect(page.locator("#log-end")).to_be_hidden()


@in_browser()
def test_a_replay_shows_the_output_again_from_its_beginning(page: Page, site: Site) -> None:
    """It begins empty, takes at most the time that the log has, and can be stopped; then all is there."""
    page.clock.install()
    job = site.submit("wait", 3)
    open_page(page, job)
    site.step()
    expect(page.locator("#job-log")).to_have_text("0 ")
    site.step(2)
    expect_state(page, "completed")
    page.get_by_role("button", name="Replay").click()
    expect(page.locator("#job-log")).to_be_hidden()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#job-log")).to_have_text("0 1 2 ")
    page.get_by_role("button", name="Replay").click()
    page.locator("#log-speed").select_option("16")
    page.clock.run_for(10_000)
    expect(page.locator("#job-log")).to_have_text("0 1 2 ")
    expect(page.get_by_role("button", name="Replay")).to_be_visible()


@in_browser()
def test_lines_are_wrapped_or_not(page: Page, site: Site) -> None:
    """A long line is wrapped at first; without that the output scrolls sideways, and the page does not."""
    open_page(page, site.submit("tell", ["w " * 500]))
    expect_state(page, "completed")
    wide = "document.querySelector('#job-log').scrollWidth > document.querySelector('#job-log').clientWidth"
    assert not page.evaluate(wide)
    page.get_by_role("button", name="Wrap").click()
    assert page.evaluate(wide)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.get_by_role("button", name="Wrap")).to_have_attribute("aria-pressed", "false")


@in_browser()
def test_each_paragraph_has_its_own_direction(page: Page, site: Site) -> None:
    """In Markdown, Hebrew begins at the right, also where it is marked; English and code at the left."""
    text = f"**{HEBREW}** a\n\nabc {HEBREW}\n\n- {HEBREW}\n\n> {HEBREW}\n\n```\n{HEBREW}\n```"
    open_page(page, site.submit("tell", [text]))
    expect_state(page, "completed")
    page.get_by_role("button", name="Markdown").click()
    directions = page.locator("#job-log :is(p, li, pre, ul, blockquote)").evaluate_all(
        "(all) => all.map((one) => [one.tagName, getComputedStyle(one).direction])"
    )
    right = {"P": ["rtl", "ltr", "rtl"], "UL": ["rtl"], "LI": ["rtl"], "BLOCKQUOTE": ["rtl"], "PRE": ["ltr"]}
    assert {tag: [how for name, how in directions if name == tag] for tag in right} == right


@pytest.mark.parametrize("markdown", [False, True])
@in_browser()
def test_a_job_of_half_a_million_tokens_stays_quick(page: Page, site: Site, markdown: bool) -> None:
    """It is opened with under a megabyte, has a bounded number of nodes, and is drawn in bounded time."""
    job = site.submit("stream", 500_000)
    open_page(page)
    if markdown:
        page.evaluate("localStorage.setItem('trio-jobs markdown stream', '1')")
    site.finish(job)
    received: list[int] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: received.append(len(frame)))

    page.on("websocket", listen)
    page.goto("about:blank")
    page.goto(f"/#job={job}")
    expect_state(page, "completed")
    expect(page.locator("#job-log")).to_contain_text("499999")
    assert sum(received) < 2**20
    assert page.evaluate(NODES) < 20_000
    for _ in range(8):
        page.locator("#log-earlier").click()
        expect(page.locator("#log-earlier")).to_be_enabled()
    assert page.evaluate(NODES) < 30_000
    assert page.evaluate("document.querySelector('#job-log').textContent.length") < 250_000
