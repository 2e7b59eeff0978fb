"""The live page is accessible: by keyboard alone, on a phone, in light and in dark."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .chromium import expect_state, in_browser, open_page
from .contrast import CONTRASTS
from .site import Site

pytestmark = [pytest.mark.deep, pytest.mark.xdist_group("browser")]

PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
WIDE = "https://example.org/" + "W" * 300


@in_browser()
def test_everything_can_be_done_with_keys(page: Page, site: Site) -> None:
    """By keyboard alone: submit a job, go through the list, open one, go back, cancel; focus is visible."""
    open_page(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="New job")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_label("Handler", exact=True)).to_be_focused()
    expect(page.get_by_label("total")).to_be_visible()
    page.keyboard.type("wait")
    page.keyboard.press("Tab")
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    expect_state(page, "running")
    expect(page.locator(".row")).to_have_count(1)

    other = site.submit("count", 1)
    expect(page.locator(f"section[data-states^=completed] .row[data-job='{other}']")).to_be_visible()
    page.locator("#filter-tags").focus()
    page.keyboard.press("Tab")
    rows = page.locator(".row")
    expect(rows.nth(0)).to_be_focused()  # the selected one
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/#job={other}")
    expect_state(page, "completed")
    page.locator("#filter-tags").focus()
    page.keyboard.press("Tab")
    expect(rows.nth(1)).to_be_focused()  # now this one is selected
    page.keyboard.press("Escape")
    expect(page.get_by_text("Oldest waiting")).to_be_visible()
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect_state(page, "running")

    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Cancel…")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Let it run")).to_be_focused()  # Enter twice cancels nothing
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#cancel-report")).to_contain_text("It has stopped")
    page.keyboard.press("Enter")
    expect_state(page, "cancelled")
    expect(page.locator("#job-handler")).to_be_focused()


@in_browser()
def test_a_row_keeps_the_keyboard_when_its_job_moves_to_another_list(page: Page, site: Site) -> None:
    """A job that ends keeps the focus on its row, in whichever list; from a button that is removed the focus
    moves to the job's name."""
    job = site.submit("wait", 1)
    open_page(page)
    page.locator("section[data-states=running] .row").focus()
    site.step()
    row = page.locator(f"section[data-states^=completed] .row[data-job='{job}']")
    expect(row).to_be_focused()
    assert row.get_attribute("tabindex") == "0"

    open_page(page, site.submit("wait", 1))
    page.get_by_role("button", name="Cancel…").focus()
    site.step()
    expect_state(page, "completed")
    expect(page.locator("#job-handler")).to_be_focused()


@in_browser(**PHONE)
def test_a_phone_shows_one_thing_at_a_time_and_never_scrolls_sideways(page: Page, site: Site) -> None:
    """At 360 pixels the list, a job with long words, and the dialogs fit; a job has a way back."""
    job = site.submit("shout", WIDE, tags={WIDE[:100]: WIDE}, metadata={WIDE: WIDE}, key=WIDE[:200])
    failed = site.submit("fail", WIDE)

    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth && innerWidth === 360"))

    open_page(page)
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator("#job")).to_be_hidden()
    assert fits()
    for one, state in ((failed, "failed"), (job, "completed")):
        page.locator(f".row[href='#job={one}']").tap()
        expect_state(page, state)
        expect(page.locator("#jobs")).to_be_hidden()
        assert fits()
        page.get_by_text("← All jobs").tap()
        expect(page.locator("#jobs")).to_be_visible()
    page.get_by_role("button", name="New job").tap()
    page.get_by_label("Handler", exact=True).select_option("form")
    assert fits()
    box = page.locator("#submit-dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


@in_browser(**PHONE)
def test_long_errors_and_other_scripts_can_be_read_on_a_phone(page: Page, site: Site) -> None:
    """An error has the width of the history, and right-to-left text begins at the right."""
    failed = site.submit("fail", "the upstream answered with an error that takes a few words to tell. " * 4)
    hebrew = site.submit("shout", "\u05e9\u05dc\u05d5\u05dd, 12 + 3!")
    open_page(page, failed)
    expect_state(page, "failed")
    text = page.locator("#job-history li[data-kind=failed] .text").bounding_box()
    assert text is not None
    assert text["width"] > 280
    page.goto(f"/#job={hebrew}")
    expect_state(page, "completed")
    from_the_right = page.locator("#job-log .block").first.evaluate("""block => {
        const range = document.createRange();
        range.selectNodeContents(block);  // of which the first line counts
        const [text, whole] = [range.getClientRects()[0], block.getBoundingClientRect()];
        return whole.right - text.right < text.left - whole.left;
    }""")
    assert from_the_right


@pytest.mark.parametrize("scheme", ["light", "dark"])
@in_browser()
def test_every_text_stands_out_from_its_ground(page: Page, site: Site, scheme: Any) -> None:
    """In light and in dark, each text has a contrast of at least 4.5 to 1 (WCAG 2.2, level AA)."""
    page.emulate_media(color_scheme=scheme)
    running = site.submit("wait", 2, tags={"a": "b"})
    site.submit("count", 1, delay=3600)
    failed, done = site.submit("fail", "text"), site.submit("shout", "text")
    site.step()
    grounds: set[str] = set()
    for job, state in ((failed, "failed"), (done, "completed"), (running, "running")):
        open_page(page, job)
        expect_state(page, state)
        expect(page.locator(".row")).to_have_count(4)
        found = page.evaluate(CONTRASTS)
        assert len(found) > 20
        assert [one for one in found if one["contrast"] < 4.5] == []
        grounds.add(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    page.get_by_role("button", name="Cancel…").click()
    assert [one for one in page.evaluate(CONTRASTS) if one["contrast"] < 4.5] == []
    assert len(grounds) == 1
    assert (max(map(int, re.findall(r"\d+", grounds.pop()))) < 128) == (scheme == "dark")
