"""The list side of the live page: the overview, the filter, pages, many jobs at once, read-only callers."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from trio_jobs import Limit, State

from .chromium import expect_state, in_browser, open_page
from .site import Site

pytestmark = [pytest.mark.deep, pytest.mark.xdist_group("browser")]

HEBREW = "\u05e9\u05dc\u05d5\u05dd, 12 + 3!"
FINISHED = "section[data-states^=completed]"
MANY = 100_000


def ended(site: Site, *jobs: str) -> None:
    """Wait until jobs have ended."""
    for job in jobs:
        site.do(wait, site, job)


async def wait(site: Site, job: str) -> None:
    """Wait until a job has ended."""
    await (await site.jobs.get(job)).wait()


@in_browser()
def test_the_overview_says_what_happens_and_leads_to_it(page: Page, site: Site) -> None:
    """Without a selected job: states, failures, slots, limits, handlers; a number leads to its jobs."""
    done, failed = site.submit("count", 1), [site.submit("fail", "text") for _ in range(2)]
    ended(site, done, *failed)
    site.submit("wait", 1)
    site.do(site.jobs.limits.set, "gpu", Limit(at_once=4, per_second=2))
    open_page(page)
    overview = page.locator("#overview")
    expect(overview.locator("[data-state=completed] .number")).to_have_text("1")
    expect(overview.locator("[data-state=running] .number")).to_have_text("1")
    expect(page.locator("#overview-failed")).to_have_text("2")
    expect(overview).to_contain_text("3 in the last minute, 3 in the last hour")
    expect(page.locator("#overview-slots")).to_have_text("1 of 100 used")
    expect(page.locator("#overview-workers li")).to_have_text(
        re.compile(r"^worker1 running, its lease lasts \d+")
    )
    expect(page.locator("#overview-limits")).to_contain_text(
        "0 of 4 running, 0 waiting, 2 per second, pinned"
    )
    overview.get_by_role("button", name="failed, last hour").click()
    expect(page.locator(".row:visible")).to_have_count(2)
    expect(page.get_by_role("heading", name="Running")).to_be_hidden()
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(".row:visible")).to_have_count(4)
    page.locator(".row").first.click()
    expect_state(page, "running")
    expect(overview).to_be_hidden()


@in_browser()
def test_handlers_are_paused_and_resumed_in_the_overview(page: Page, site: Site) -> None:
    """Each handler has a button, which pauses it for all workers, or resumes it."""
    open_page(page)
    page.get_by_role("button", name="Pause count", exact=True).click()
    expect(page.locator("#overview-handlers li[data-name=count]")).to_contain_text("paused")
    assert site.do(site.jobs.statistics).paused_handlers == ("count",)
    page.get_by_role("button", name="Resume count", exact=True).click()
    expect(page.locator("#overview-handlers li[data-name=count]")).not_to_contain_text("paused")
    assert site.do(site.jobs.statistics).paused_handlers == ()


@in_browser(viewport={"width": 390, "height": 844})
def test_the_bar_has_one_line_on_a_phone(page: Page, site: Site) -> None:
    """Beside the list all that is in the bar fits into one line, as long as the page is connected."""
    site.do(site.jobs.pause_all)
    open_page(page)
    expect(page.get_by_role("button", name="Resume all")).to_be_visible()
    expect(page.locator("#to-overview")).to_be_visible()
    assert page.locator(".bar").evaluate("(bar) => bar.clientHeight") < 70


@in_browser()
def test_an_older_answer_does_not_undo_what_a_button_shows(page: Page, site: Site) -> None:
    """An overview that was asked for before a handler was paused, and comes after that, is not shown."""
    page.add_init_script("""
        [window.hold, window.held] = [false, []];
        const on = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
        Object.defineProperty(WebSocket.prototype, "onmessage", {set(fn) {
            on.set.call(this, (event) => {
                if (hold && event.data.includes('"last_minute"')) held.push(() => fn(event));
                else fn(event);
            });
        }});
    """)
    open_page(page)
    pause = page.get_by_role("button", name="Pause count", exact=True)
    expect(pause).to_be_visible()
    page.evaluate("hold = true; document.dispatchEvent(new Event('visibilitychange'))")
    page.evaluate("""() => new Promise((resolve) => {
        const timer = setInterval(() => held.length && resolve(clearInterval(timer)), 20);
    })""")
    pause.click()
    row = page.locator("#overview-handlers li[data-name=count]")
    expect(row).to_contain_text("paused")
    page.evaluate(
        "() => { held.splice(0).forEach((show) => show()); return new Promise(requestAnimationFrame); }"
    )
    assert "paused" in row.inner_text()


@in_browser()
def test_jobs_are_found_by_handler_id_and_time(page: Page, site: Site) -> None:
    """The filter takes a handler, the beginning of an id, and how recent a job is."""
    one, other = site.submit("count", 1), site.submit("fail", "text")
    ended(site, one, other)
    open_page(page)
    rows = page.locator(".row:visible")
    expect(rows).to_have_count(2)
    page.locator("#filter-handler").select_option("fail")
    expect(rows).to_have_count(1)
    expect(rows).to_have_attribute("data-job", other)
    page.locator("#filter-handler").select_option("")
    page.locator("#filter-id").fill(one[:10])
    expect(rows).to_have_count(1)
    expect(rows).to_have_attribute("data-job", one)
    page.locator("#filter-id").fill("nothing-begins-so")
    expect(rows).to_have_count(0)
    page.locator("#filter-id").fill("")
    page.locator("#filter-time").select_option("300")
    expect(rows).to_have_count(2)
    page.evaluate("document.querySelector('#filter-time option[value=\"300\"]').value = '0.001'")
    page.locator("#filter-time").select_option("0.001")
    expect(rows).to_have_count(0)


@in_browser()
def test_jobs_are_found_by_a_piece_of_their_arguments(page: Page, site: Site) -> None:
    """The filter takes text as it stands in the rows, and what is filtered so can be changed at once."""
    one, other = [site.submit("tell", [word], delay=3600) for word in ("Größe", "groesse")]
    open_page(page)
    rows = page.locator(".row:visible")
    expect(rows).to_have_count(2)
    page.locator("#filter-args").fill('["Größ')
    expect(rows).to_have_count(1)
    expect(rows).to_have_attribute("data-job", one)
    page.get_by_role("button", name="Cancel all…").click()
    expect(page.locator("#bulk-report")).to_contain_text('whose arguments contain ["Größ')
    page.get_by_role("button", name="Cancel them").click()
    page.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("button", name="Show all").click()
    expect(rows).to_have_count(2)
    assert site.do(site.jobs.find).jobs[1].id == other
    assert [job.id for job in site.do(partial(site.jobs.find, state=State.QUEUED))] == [other]


@in_browser()
def test_what_is_filtered_is_cancelled_and_submitted_again(page: Page, site: Site) -> None:
    """How many jobs match is said first; nothing is changed before that is confirmed."""
    for _ in range(3):
        site.submit("count", 1, tags={"batch": "7"}, delay=3600)
    other = site.submit("count", 1, delay=3600)
    open_page(page)
    expect(page.locator("#filter-acts")).to_be_hidden()
    page.locator("#filter-tags").fill("batch=7")
    page.get_by_role("button", name="Cancel all…").click()
    expect(page.locator("#bulk-report")).to_have_text("3 jobs with batch=7 that have not ended.")
    page.get_by_role("button", name="Leave them").click()
    assert site.do(site.jobs.find).jobs[0].state is State.QUEUED
    page.get_by_role("button", name="Cancel all…").click()
    page.get_by_role("button", name="Cancel them").click()
    expect(page.locator("#bulk-report")).to_contain_text("3 were told to stop.")
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator(f"{FINISHED} .row")).to_have_count(3)
    page.locator("#filter-state").select_option("cancelled")
    page.get_by_role("button", name="Retry all…").click()
    expect(page.locator("#bulk-report")).to_contain_text("3 cancelled jobs with batch=7")
    page.get_by_role("button", name="Submit them again").click()
    expect(page.locator("#bulk-report")).to_have_text("3 were submitted again.")
    states = [job.state for job in site.do(site.jobs.find).jobs if job.id == other]
    assert states == [State.QUEUED]


@in_browser()
def test_who_may_only_read_sees_no_button_that_would_fail(page: Page, site: Site) -> None:
    """A caller who may not change anything sees jobs and the overview, and nothing that changes a job."""
    site.token, site.owner, site.may = "open-sesame", None, "read"
    site.restart()
    ended(site, site.submit("count", 1))
    job = site.submit("chat")
    page.add_init_script("sessionStorage.setItem('trio-jobs token', 'open-sesame')")
    open_page(page)
    expect(page.locator("#overview-handlers li")).not_to_have_count(0)
    page.locator(f".row[data-job='{job}']").click()
    expect_state(page, "running")
    page.locator("#filter-state").select_option("running")
    expect(page.get_by_role("button", name="Show all")).to_be_visible()
    assert page.locator("body").get_attribute("data-may") == "read"
    names = page.evaluate(
        """[...document.querySelectorAll("button")]
            .filter((one) => one.checkVisibility()).map((one) => one.textContent)"""
    )
    assert not [
        name
        for name in names
        if name.startswith(("New", "Pause", "Cancel", "Retry", "Submit", "Send", "No more"))
    ]
    site.may = "change"
    page.reload()
    expect(page.get_by_role("button", name="New job")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel…")).to_be_visible()


@in_browser()
def test_a_list_of_any_length_stays_quick(page: Page, site: Site) -> None:
    """With 100,000 jobs the page has a bounded number of nodes, and a refresh has one of bytes."""
    site.do(site.jobs.pause_all)
    site.do(fill, site)
    page.add_init_script("""
        window.bytes = 0;
        window.lists = 0;
        const on = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
        Object.defineProperty(WebSocket.prototype, "onmessage", {set(fn) {
            on.set.call(this, (event) => {
                bytes += event.data.length;
                lists += event.data.includes('"jobs":[') ? 1 : 0;
                fn(event);
            });
        }});
    """)
    open_page(page)
    queue = page.locator("section[data-states~=queued]:not([data-reason])")
    expect(queue.locator(".row")).to_have_count(50)
    expect(queue.locator(".count")).to_have_text("50+")
    expect(page.locator("#overview [data-state=queued] .number")).to_have_text(f"{MANY:,}")
    for page_ in (2, 3, 4):
        queue.get_by_role("button", name="Older of the queue").click()
        expect(queue.locator(".count")).to_have_text(f"from {50 * page_ - 49}")
        expect(queue.locator(".row")).to_have_count(50)
    assert page.evaluate("document.querySelectorAll('*').length") < 1500
    page.evaluate("""() => new Promise((resolve) => {
        bytes = lists = 0;
        const timer = setInterval(() => lists >= 8 && resolve(clearInterval(timer)), 20);  // two refreshes
    })""")
    assert page.evaluate("bytes / lists") < 50 * 1000
    first = queue.locator(".row").first.get_attribute("data-job")
    queue.get_by_role("button", name="Newest of the queue").click()
    expect(queue.locator(".count")).to_have_text("50+")
    assert queue.locator(".row").first.get_attribute("data-job") != first
    page.locator("#filter-id").fill(str(first))
    expect(queue.locator(".row")).to_have_count(1)


async def fill(site: Site) -> None:
    """Submit many jobs, none of which starts."""
    count: Any = site.jobs.handlers["count"]
    for _ in range(MANY // 1000):
        await site.jobs.submit_many(count, [(1,)] * 1000)


@in_browser()
def test_each_text_of_a_row_has_its_own_direction(page: Page, site: Site) -> None:
    """A right-to-left tag or message begins at the right, beside names that begin at the left."""
    job = site.submit("fail", HEBREW, tags={"\u05e9\u05dd": "\u05e2\u05e8\u05da"})
    ended(site, job)
    open_page(page)
    row = page.locator(f".row[data-job='{job}']")
    ways = {
        name: row.locator(f".{name}").evaluate("(one) => getComputedStyle(one).direction")
        for name in ("name", "tags")
    }
    assert ways == {"name": "ltr", "tags": "rtl"}
    from_the_right = row.locator(".tags").evaluate("""(one) => {
        const range = document.createRange();
        range.selectNodeContents(one);
        const [text, whole] = [range.getBoundingClientRect(), one.getBoundingClientRect()];
        return whole.right - text.right < text.left - whole.left;
    }""")
    assert from_the_right
