"""The selected job on the page: its id and record, its relatives, and its attempts side by side."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from trio_jobs import Retry

from .chromium import expect_state, in_browser, open_page
from .site import Site

pytestmark = [pytest.mark.deep, pytest.mark.xdist_group("browser")]

ALLOWED = ["clipboard-read", "clipboard-write"]
READ = "navigator.clipboard.readText()"


@in_browser(permissions=ALLOWED)
def test_the_id_and_the_record_are_copied_by_a_click(page: Page, site: Site) -> None:
    """A click on the id copies it; the record is shown as JSON, as it is now, and copied."""
    job = site.submit("wait", 1)
    open_page(page, job)
    page.locator("#job-facts").get_by_role("button", name=job).click()
    expect(page.locator("#job-facts")).to_contain_text("Copied")
    assert page.evaluate(READ) == job
    page.get_by_text("JSON", exact=True).click()
    expect(page.locator("#job-json pre")).to_contain_text('"state": "running"')
    site.step()
    expect(page.locator("#job-json pre")).to_contain_text('"state": "completed"')
    page.locator("#json-copy").click()
    expect(page.locator("#json-copy")).to_have_text("Copied")
    record = json.loads(page.evaluate(READ))
    assert (record["id"], record["state"], record["result"]) == (job, "completed", 1)


@in_browser()
def test_a_job_says_what_it_is_doing(page: Page, site: Site) -> None:
    """Of a job that runs its stack is shown on demand; of one that waits, why; of one that ended, nothing."""
    site.tracebacks = True
    site.restart()
    job = site.submit("wait", 1)
    open_page(page, job)
    page.get_by_text("What is it doing?").click()
    expect(page.locator("#job-why pre")).to_contain_text("steps.receive()")
    later = site.submit("count", 1, delay=3600)
    page.goto(f"/#job={later}")
    expect_state(page, "queued")
    expect(page.locator("#job-why pre")).to_be_hidden()
    page.get_by_text("What is it doing?").click()
    expect(page.locator("#job-why pre")).to_contain_text("due")
    expect(page.locator("#job-why pre")).not_to_contain_text("receive")
    page.goto(f"/#job={job}")
    site.step()
    expect_state(page, "completed")
    expect(page.locator("#job-why")).to_be_hidden()


@in_browser()
def test_parents_and_children_are_linked(page: Page, site: Site) -> None:
    """A job lists the jobs that it started, as they run, and each of these links to it."""
    job = site.submit("family", [1, 2])
    open_page(page, job)
    expect_state(page, "completed")
    expect(page.locator("#children li")).to_have_count(2)
    expect(page.locator("#children .state")).to_have_text(["completed", "completed"])
    page.locator("#children a").first.click()
    expect(page.locator("#job-handler")).to_have_text("count")
    expect(page.locator("#job-log")).to_have_text("0 1 ")
    expect(page.locator("#job-children")).to_be_hidden()
    page.locator("#job-facts").get_by_role("link", name=job).click()
    expect(page.locator("#job-handler")).to_have_text("family")
    expect(page.locator("#children li")).to_have_count(2)


@in_browser()
def test_attempts_are_compared_side_by_side(page: Page, site: Site) -> None:
    """Each attempt has a column: how it ended, and what it alone sent. A single one is not compared."""
    open_page(page, site.submit("count", 1))
    expect_state(page, "completed")
    expect(page.locator("#job-attempts")).to_be_hidden()

    job = site.submit("numbered", retry=Retry(attempts=3, initial=0))
    open_page(page, job)
    expect(page.locator("#job-attempts summary")).to_be_visible()
    page.locator("#job-attempts summary").click()
    columns = page.locator(".attempt")
    expect(columns).to_have_count(3)
    expect(columns.nth(2)).to_contain_text("running")
    site.step()
    expect(columns.nth(2)).to_contain_text("completed")
    expect(columns.nth(0)).to_contain_text("RuntimeError: attempt 1 failed")
    expect(columns.nth(1)).to_contain_text("RuntimeError: attempt 2 failed")
    expect(columns.locator("pre")).to_have_text(["of attempt 1", "of attempt 2", "of attempt 3"])
    tops = columns.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().top)")
    assert len(set(tops)) == 1
    page.set_viewport_size({"width": 360, "height": 740})
    tops = columns.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().top)")
    assert len(set(tops)) == 3
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@in_browser()
def test_of_a_long_attempt_the_end_is_compared(page: Page, site: Site) -> None:
    """Of an attempt with many events only the last are loaded, and the page says so."""
    job = site.submit(
        "tell", [f"{number}\n" for number in range(3000)], 1, retry=Retry(attempts=2, initial=0)
    )
    open_page(page, job)
    expect_state(page, "completed")
    page.locator("#job-attempts summary").click()
    first = page.locator(".attempt").first
    expect(first).to_contain_text("only the end is shown")
    expect(first.locator("pre")).to_contain_text("2999")
    assert 900 <= first.locator("pre").inner_text().count("\n") <= 1000
