"""The live page, used as people use it."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from playwright.sync_api import Page, WebSocketRoute, expect
from starlette.applications import Starlette
from starlette.routing import Mount

from trio_jobs import Schedule
from trio_jobs.serving import http_app

from .chromium import Browser, expect_state, in_browser, open_page
from .site import Site

pytestmark = [pytest.mark.deep, pytest.mark.xdist_group("browser")]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>&lt;b&gt;"


async def over(site: Site, job: str) -> None:
    """Wait until a job has ended."""
    await (await site.jobs.get(job)).wait()


@in_browser()
def test_it_loads_and_says_that_there_is_nothing(page: Page, site: Site) -> None:
    """The page connects, prints no error, and says that there are no jobs."""
    open_page(page)
    for text in ("Nothing runs.", "Nothing waits.", "Nothing has ended yet.", "Oldest waiting"):
        expect(page.get_by_text(text)).to_be_visible()


async def test_a_script_that_is_no_file_does_not_run(browser: Browser, site: Site) -> None:
    """The page's policy stops an inline script, and the browser reports it."""

    def script(page: Page, site: Site) -> None:
        open_page(page)
        planted = "Object.assign(document.createElement('script'), {textContent: 'window.ran = true'})"
        page.evaluate(f"document.head.append({planted})")
        assert page.evaluate("window.ran") is None

    with pytest.raises(AssertionError, match="script-src 'self'"):
        await browser.run(script, site, {})


async def test_it_works_below_a_path_of_another_app(
    browser: Browser, site: Site, nursery: trio.Nursery
) -> None:
    """Mounted in another application, the page finds its files and its server there, slash or not."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.loglevel = "ERROR"
    app: Any = Starlette(routes=[Mount("/ops", http_app(site.jobs))])
    (url,) = await nursery.start(partial(serve, app, config))

    def script(page: Page, site: Site) -> None:
        for path in ("/ops", "/ops/"):
            page.goto(url + path)
            expect(page.locator("#connection")).to_have_text("Connected")
        expect(page).to_have_url(f"{url}/ops/")

    await browser.run(script, site, {})


@in_browser()
def test_a_job_is_submitted_from_a_form_made_for_its_handler(page: Page, site: Site) -> None:
    """Each kind of parameter has its kind of field, and the handler gets what was written."""
    open_page(page)
    page.get_by_role("button", name="New job").click()
    page.get_by_label("Handler", exact=True).select_option("form")
    expect(page.get_by_text("Return the arguments.")).to_be_visible()
    page.get_by_label("text", exact=True).fill("two\nlines")
    page.get_by_label("number", exact=True).fill("1.5")
    page.get_by_label("flag").check()
    page.get_by_label("colour").select_option("green")
    page.get_by_label("names").fill('["a", "b"]')
    page.get_by_label("More arguments").fill("[1, 2]")
    page.get_by_label("Tags", exact=True).fill('user=7 title="a b"')
    page.get_by_label("Timeout in seconds").fill("60")
    page.get_by_role("button", name="Submit").click()

    expect_state(page, "completed")
    result = page.locator("#job-result pre").inner_text()
    assert json.loads(result) == ["two\nlines", 1.5, True, "green", ["a", "b"], 7, 1, 2]
    expect(page.locator("#job-facts")).to_contain_text('title="a b"')
    expect(page.locator("#job-facts")).to_contain_text("run 1 min 0 s")
    expect(page.locator(".row[aria-current]")).to_contain_text("form")


@in_browser()
def test_what_does_not_fit_is_said_at_its_field(page: Page, site: Site) -> None:
    """A wrong value is marked at its field, an error of the server is shown, and no input is lost."""
    open_page(page)
    page.get_by_role("button", name="New job").click()
    page.get_by_label("Handler", exact=True).select_option("form")
    page.get_by_label("names").fill("a, b")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("This is no JSON.")).to_be_visible()
    expect(page.get_by_text("This is needed.")).to_have_count(2)
    expect(page.get_by_label("number", exact=True)).to_be_focused()  # the first of them

    page.get_by_label("number", exact=True).fill("1")
    page.get_by_label("colour").select_option("red")
    page.get_by_label("names").fill("[1]")
    page.get_by_label("Tags", exact=True).fill("user")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#submit-tags-problem")).to_be_visible()
    page.get_by_label("Tags", exact=True).fill("")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#submit-error")).to_be_hidden()
    expect(page.get_by_text("Expected `str`, got `int`")).to_be_visible()  # the server's own words
    expect(page.get_by_label("names")).to_be_focused()
    expect(page.get_by_label("names")).to_have_value("[1]")


@in_browser()
def test_keyword_only_parameters_have_fields(page: Page, site: Site) -> None:
    """They are asked for, go to the handler by name, and are shown; an error is said at the one it names."""
    open_page(page)
    page.get_by_role("button", name="New job").click()
    page.get_by_label("Handler", exact=True).select_option("styled")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("This is needed.")).to_have_count(1)
    expect(page.get_by_label("width")).to_be_focused()
    page.get_by_label("width").fill("7")
    page.get_by_label("fonts").fill("[1]")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("the keyword argument 'fonts' of styled does not fit")).to_be_visible()
    expect(page.get_by_label("fonts")).to_be_focused()
    expect(page.locator("#submit-error")).to_be_hidden()
    page.get_by_label("fonts").fill('["serif"]')
    page.get_by_role("button", name="Submit").click()
    expect_state(page, "completed")
    result = json.loads(page.locator("#job-result pre").inner_text())
    assert result == {"text": "", "width": 7, "fonts": ["serif"]}
    shown = page.locator("#job-facts dt", has_text="Keyword arguments").locator("+ dd pre")
    assert json.loads(shown.inner_text()) == {"width": 7, "fonts": ["serif"]}


@in_browser()
def test_keyword_arguments_are_in_the_form_again(page: Page, site: Site) -> None:
    """A job with any keyword arguments is submitted again with them, or with one that is changed."""
    given = {"text": "a", "width": 7, "colour": "red"}
    open_page(page, site.submit("styled", kwargs=given))
    expect_state(page, "completed")
    page.get_by_role("button", name="Submit again…").click()
    expect(page.get_by_label("text", exact=True)).to_have_value("a")
    page.get_by_label("width").fill("8")
    page.locator("#submit-button").click()
    shown = page.locator("#job-facts dt", has_text="Keyword arguments").locator("+ dd pre")
    expect(shown).to_contain_text("8")
    expect_state(page, "completed")
    result = json.loads(page.locator("#job-result pre").inner_text())
    assert result == {"text": "a", "width": 8, "fonts": None, "colour": "red"}


@in_browser()
def test_a_keyed_limit_asks_for_its_key(page: Page, site: Site) -> None:
    """Only for a handler with a keyed limit there is a field for the key, which is needed."""
    open_page(page)
    page.get_by_role("button", name="New job").click()
    page.get_by_label("Handler", exact=True).select_option("count")
    expect(page.get_by_label("Limit key")).to_have_count(0)
    page.get_by_label("Handler", exact=True).select_option("alone")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("This is needed.")).to_have_count(1)
    page.get_by_label("Limit key").fill("tenant-7")
    page.get_by_role("button", name="Submit").click()
    expect_state(page, "running")
    expect(page.locator("#job-facts")).to_contain_text("tenant-7")


@in_browser()
def test_a_job_is_watched_as_it_runs(page: Page, site: Site) -> None:
    """Tokens, progress, history and result are shown as they arrive, and the lists follow."""
    job = site.submit("wait", 4)
    open_page(page, job)
    expect(page.locator("section[data-states=running] .row")).to_have_count(1)
    site.step(2)
    expect(page.locator("#job-log")).to_have_text("0 1 ")
    expect(page.locator("#job-progress-text")).to_have_text("25 %, 1 of 4: counting")
    assert page.locator("#job-progress progress").get_attribute("max") == "4"
    expect(page.locator("#job-history .word")).to_have_text(
        ["Submitted", "Started", "Saved \N{MULTIPLICATION SIGN}2"]
    )
    expect(page).to_have_title("wait running \N{EN DASH} trio_jobs")
    site.step(2)
    expect_state(page, "completed")
    expect(page.locator("#job-log")).to_have_text("0 1 2 3 ")
    expect(page.locator("#job-result pre")).to_have_text("4")
    expect(page.locator("#job-history .word").last).to_have_text("Completed")
    expect(page.locator("#cancel-job")).to_be_hidden()
    expect(page.locator("section[data-states^=completed] .row")).to_have_count(1)
    expect(page.locator("section[data-states=running] .row")).to_have_count(0)


@in_browser()
def test_a_job_is_told_things_as_it_runs(page: Page, site: Site) -> None:
    """There is a field for a job's inputs; the output says which side said what, and an end ends them."""
    open_page(page, site.submit("chat"))
    field = page.get_by_label("Input", exact=True)
    log = page.locator("#job-log")
    for text in ("hello", "<b>you</b>"):
        field.fill(text)
        page.get_by_role("button", name="Send", exact=True).click()
        expect(log).to_contain_text(f"I heard {text}.")
        expect(field).to_have_value("")
    expect(log.locator(".input")).to_have_text(["Inputhello", "Input<b>you</b>"])
    expect(log.locator(".block")).to_have_text(["I heard hello.\n", "I heard <b>you</b>.\n"])
    field.fill("draft")
    page.reload()
    expect(log.locator(".input")).to_have_count(2)
    page.get_by_role("button", name="No more inputs").click()
    expect_state(page, "completed")
    expect(page.locator("#job-input")).to_be_hidden()
    expect(log).to_contain_text("no more inputs will come")
    expect(page.locator("#job-history")).to_contain_text("No more inputs")


@in_browser()
def test_what_waits_for_somebody_is_on_top_and_answered(page: Page, site: Site) -> None:
    """A job that awaits an input is listed by itself, says for what, and goes on with the answer."""
    open_page(page)
    expect(page.locator("#waiting")).to_be_hidden()
    site.submit("approve", "a new version")
    waiting = page.locator("#waiting .row")
    expect(waiting).to_contain_text("Do you want a new version?")
    expect(page.locator("#queue-title .count")).to_have_text("0")
    waiting.click()
    expect(page.locator("#job-note")).to_have_text("It waits for an input: Do you want a new version?")
    expect(page.locator("#job-history")).to_contain_text("Waits for an input")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("This is needed.")).to_be_visible()  # a no is chosen, as a yes is
    page.get_by_label("Input", exact=True).select_option("Yes")
    page.get_by_role("button", name="Send", exact=True).click()
    expect_state(page, "completed")
    expect(page.locator("#job-result")).to_contain_text("true")
    expect(page.locator("#waiting")).to_be_hidden()
    expect(page.locator("#job-log .input")).to_have_text(["Inputtrue"])


@in_browser()
def test_an_input_that_is_refused_is_said_there(page: Page, site: Site) -> None:
    """Why the server refuses an input stands at the field, and what was written stays; a job whose handler
    takes none has no field."""
    open_page(page, site.submit("wait", 1))
    expect_state(page, "running")
    expect(page.locator("#job-input")).to_be_hidden()
    open_page(page, site.submit("chat"))
    page.get_by_label("Input", exact=True).fill("\0")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#input-field .error")).to_contain_text("NUL")
    expect(page.get_by_label("Input", exact=True)).to_have_value("\0")


@in_browser()
def test_a_job_is_cancelled_after_it_was_confirmed(page: Page, site: Site) -> None:
    """Cancelling asks for a confirmation: without it the job runs on, with it the outcome is shown."""
    job = site.submit("wait", 4)
    open_page(page, job)
    site.step()
    expect(page.locator("#job-log")).to_have_text("0 ")
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Let it run").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    site.step()
    expect(page.locator("#job-log")).to_have_text("0 1 ")  # it does run

    page.get_by_role("button", name="Cancel…").click()
    page.get_by_label("Reason").fill("no longer wanted")
    page.get_by_role("button", name="Cancel the job").click()
    report = re.compile(r"It has stopped: its nursery closed after .* s\.")
    expect(page.locator("#cancel-report")).to_have_text(report)
    page.get_by_role("button", name="Close").click()
    expect_state(page, "cancelled")
    expect(page.locator("#job-note")).to_have_text("Cancelled: no longer wanted")
    expect(page.locator("#job-history")).to_contain_text("no longer wanted")


@in_browser()
def test_handlers_are_paused_and_resumed(page: Page, site: Site) -> None:
    """The page says what is paused; buttons pause all, or the handler of a job, and resume them."""
    job = site.submit("count", 1)
    open_page(page, job)
    page.get_by_role("button", name="Pause count", exact=True).click()
    expect(page.get_by_text("Paused: count")).to_be_visible()
    page.get_by_role("button", name="Resume count", exact=True).click()
    expect(page.get_by_text("Paused: count")).to_be_hidden()
    page.get_by_role("button", name="Pause all", exact=True).click()
    expect(page.get_by_text("All handlers are paused: no job starts.")).to_be_visible()
    expect(page.get_by_role("button", name="Pause count", exact=True)).to_be_hidden()
    assert site.do(site.jobs.statistics).all_paused
    page.get_by_role("button", name="Resume all", exact=True).click()
    expect(page.locator("#paused")).to_be_hidden()
    assert not site.do(site.jobs.statistics).all_paused


@in_browser()
def test_the_page_goes_on_when_the_server_was_restarted(page: Page, site: Site) -> None:
    """While the server is away the page says so; then the stream goes on: no gap, no repeat."""
    job = site.submit("wait", 6)
    open_page(page, job)
    site.step(3)
    expect(page.locator("#job-log")).to_have_text("0 1 2 ")
    site.do(site.stop)
    expect(page.locator("#connection")).to_have_text("Reconnecting…")
    site.do(site.start)
    expect(page.locator("#connection")).to_have_text("Connected")
    site.step(3)
    expect_state(page, "completed")
    expect(page.locator("#job-log .block")).to_have_text(["0 1 2 ", "3 4 5 "])
    expect(page.locator("#job-log .rule")).to_have_text("attempt 2")
    expect(page.locator(".row")).to_have_count(1)


@in_browser()
def test_what_a_job_says_is_text(page: Page, site: Site) -> None:
    """Markup in tokens, results, saved values, tags, metadata, keys and errors is shown as text."""
    tags = {"<b>name</b>": HOSTILE, "__proto__": "x"}
    options: dict[str, Any] = {"tags": tags, "metadata": {HOSTILE: HOSTILE}, "key": HOSTILE}
    job = site.submit("shout", HOSTILE, **options)
    open_page(page, job)
    expect_state(page, "completed")
    expect(page.locator("#job-log")).to_contain_text(HOSTILE)
    expect(page.locator("#job-result pre")).to_have_text(HOSTILE)
    expect(page.locator("#job-history")).to_contain_text(HOSTILE)
    assert page.locator("#job-facts").inner_text().count("onerror") >= 5
    expect(page.locator(".row .tags")).to_contain_text("<b>name</b>=")
    expect(page.locator(".row .tags")).to_contain_text("__proto__=x")

    failed = site.submit("fail", HOSTILE)
    page.goto(f"/#job={failed}")
    expect_state(page, "failed")
    expect(page.locator("#job-error-text")).to_have_text(f"RuntimeError: {HOSTILE}")
    page.goto(f"/#job={HOSTILE}")
    expect(page.locator("#job-problem")).to_contain_text("<img src=x")
    assert page.locator("main :is(img, script, b)").count() == 0
    expect(page).to_have_title("trio_jobs")


@in_browser()
def test_a_long_log_stays_cheap_and_says_what_is_left_out(page: Page, site: Site) -> None:
    """Of 6,000 lines the page shows the last, about 200,000 characters, and says which events these are."""
    job = site.submit("burst", 6_000)
    site.do(over, site, job)
    open_page(page, job)
    expect(page.locator("#job-log")).to_contain_text("5999 xxx")
    expect(page.locator("#job-left-out")).to_contain_text("to 6,003 of 6,003 are shown")
    assert page.evaluate("document.querySelector('#job-log').textContent.length") <= 225_000
    at_end = "(log) => log.scrollTop + log.clientHeight >= log.scrollHeight - 30"
    assert page.locator("#job-log").evaluate(at_end)


@in_browser()
def test_lists_show_what_the_filter_asks_for(page: Page, site: Site) -> None:
    """Tags and state filter the list, a click on a tag adds it, and a wrong filter is reported."""
    site.submit("count", 1, tags={"user": "7", "title": "a b"})
    job = site.submit("fail", "text", tags={"user": "7"})
    site.submit("count", 1)
    open_page(page, job)
    rows = page.locator(".row:visible")
    expect(rows).to_have_count(3)
    page.locator("#filter-tags").fill("user")
    expect(page.locator("#filter-error")).to_be_visible()
    page.locator("#filter-tags").fill('title="a b"')
    expect(page.locator("#filter-error")).to_be_hidden()
    expect(rows).to_have_count(1)
    page.locator("#filter-tags").fill("")
    page.locator("#job-facts .tag", has_text="user=7").click()
    expect(page.locator("#filter-tags")).to_have_value("user=7")
    expect(rows).to_have_count(2)
    page.get_by_label("State").select_option("failed")
    expect(rows).to_have_count(1)
    expect(page.get_by_role("heading", name="Running")).to_be_hidden()


@in_browser()
def test_a_job_that_moves_on_while_it_is_asked_for_is_listed_once(page: Page, site: Site) -> None:
    """A job that ends between the request for running jobs and that for ended ones is listed once."""
    job = site.submit("wait", 1)
    moved: list[str] = []

    def between(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def back(message: str | bytes) -> None:
            if not moved and str(message).startswith('{"re":') and '"jobs":[{' in str(message):
                moved.append(str(message))
                site.step()
                site.do(over, site, job)
            socket.send(message)

        server.on_message(back)

    page.route_web_socket("**/v1/ws", between)
    page.add_init_script("""
        window.most = 0;
        new MutationObserver(() => { most = Math.max(most, document.querySelectorAll(".row").length); })
            .observe(document, {subtree: true, childList: true});
    """)
    open_page(page)
    expect(page.locator("section[data-states^=completed] .row")).to_have_count(1)
    assert '"state":"running"' in moved[0]
    assert page.evaluate("most") == 1


@in_browser()
def test_long_lists_and_large_values_come_when_somebody_wants_them(page: Page, site: Site) -> None:
    """A list has its newest jobs, and older ones on demand; a large result is first shown by its size."""
    large = site.submit("shout_at_length", 2**20)
    for _ in range(50):
        site.submit("count", 1)
    open_page(page)
    rows, count = (
        page.locator("section[data-states^=completed] .row"),
        "section[data-states^=completed] .count",
    )
    expect(page.locator(count)).to_have_text("50+")
    page.get_by_role("button", name="Older finished jobs").click()
    expect(rows).to_have_count(1)
    expect(page.locator(count)).to_have_text("from 51")
    expect(page.get_by_role("button", name="Older finished jobs")).to_be_hidden()

    page.locator(f".row[data-job='{large}']").click()
    expect(page.locator("#job-history")).to_contain_text("(1.0 MB)")
    result = page.locator("#job-result")
    result.get_by_role("button", name="Show 1.0 MB").click()
    expect(result).to_contain_text("xxxx")


def set_visibility(page: Page, state: str) -> None:
    page.evaluate(
        """(state) => {
            Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        state,
    )


@in_browser()
def test_nobody_is_asked_while_nobody_looks(page: Page, site: Site) -> None:
    """A hidden page sends no requests for jobs; when it is visible again it sends one at once."""
    page.clock.install()
    page.add_init_script("""
        window.finds = 0;
        let enough;
        window.rounds = new Promise((resolve) => { enough = resolve; });
        const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (text) {
            if (JSON.parse(text).op === "list" && (finds += 1) === 9) enough();
            send.call(this, text);
        };
    """)
    open_page(page)
    page.evaluate("rounds")  # three of them, with three questions each
    set_visibility(page, "hidden")
    before = page.evaluate("finds")
    page.clock.run_for(10_000)
    page.evaluate("fetch('/healthz').then((answer) => answer.text())")
    page.clock.run_for(10_000)
    assert page.evaluate("finds") == before
    job = site.submit("count", 1)
    set_visibility(page, "visible")
    expect(page.locator(f".row[data-job='{job}']")).to_be_visible()


@in_browser()
def test_who_is_not_known_is_asked_for_a_token(page: Page, site: Site) -> None:
    """The page asks its user for a token, again if it was wrong; the tab keeps it."""
    site.token = "open-sesame"
    site.restart()
    site.submit("count", 1, owner="ann")
    site.submit("count", 1, owner="bob")
    page.goto("/")
    page.keyboard.press("Escape")
    page.get_by_label("Token").fill("no token")
    page.get_by_role("button", name="Enter").click()
    expect(page.locator("#token-error")).to_contain_text("letters, digits")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Enter").click()
    expect(page.locator("#token-error")).to_contain_text("does not know this token")
    page.get_by_label("Token").fill("open-sesame")
    page.get_by_role("button", name="Enter").click()
    expect(page.locator("#connection")).to_have_text("Connected")
    expect(page.locator(".row")).to_have_count(1)  # ann's
    page.reload()
    expect(page.locator("#connection")).to_have_text("Connected")
    assert "open-sesame" not in page.url


@in_browser()
def test_schedules_are_paused_resumed_and_triggered(page: Page, site: Site) -> None:
    """The page lists the schedules, if there are any, pauses and resumes them, and opens a job of one."""
    open_page(page)
    expect(page.get_by_role("heading", name="Schedules")).to_be_hidden()
    site.do(site.jobs.schedules.add, Schedule(site.jobs.handlers["count"], (3,), every=7200, name=HOSTILE))
    row = page.locator(".schedules li")
    expect(row).to_contain_text("count: every 7200 s, next at", timeout=30_000)
    expect(row).to_contain_text(HOSTILE)
    name, toggle = (row.locator(one).bounding_box() for one in (".name", ".toggle"))
    assert name is not None
    assert toggle is not None
    assert name["x"] + name["width"] <= toggle["x"]  # what can be done with a schedule is beside it
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("count: every 7200 s, paused")
    assert site.do(site.jobs.schedules.find)[0].paused
    row.get_by_role("button", name="Resume").click()
    expect(row).to_contain_text("next at")
    row.get_by_role("button", name="Run now").click()
    expect_state(page, "completed")
    set_visibility(page, "hidden")  # in which the page does not look for schedules by itself
    site.do(site.jobs.schedules.remove, HOSTILE)
    row.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("alert").filter(has_text="no schedule has the name")).to_be_visible()
    set_visibility(page, "visible")
    expect(row).to_be_hidden(timeout=30_000)


@in_browser()
def test_a_job_is_tried_again_with_other_arguments(page: Page, site: Site) -> None:
    """A job shows its arguments; submitted again they are in the form, and with another one
    the new job names the old one."""
    given = ["two\nlines", 1.5, True, "green", ["a", "b"], 8, 9]
    job = site.submit("form", *given)
    open_page(page, job)
    expect_state(page, "completed")
    shown = page.locator("#job-facts dt", has_text="Arguments").locator("+ dd pre")
    assert json.loads(shown.inner_text()) == given
    page.get_by_role("button", name="Submit again…").click()
    expect(page.get_by_label("names")).to_have_value('["a","b"]')
    expect(page.get_by_label("More arguments")).to_have_value("[9]")
    page.get_by_label("number", exact=True).fill("2.5")
    page.locator("#submit-button").click()
    expect(page.locator("#job-facts")).to_contain_text(f"Submitted again from{job}")
    expect_state(page, "completed")
    result = page.locator("#job-result pre").inner_text()
    assert json.loads(result) == ["two\nlines", 2.5, *given[2:]]


@in_browser()
def test_a_job_that_has_ended_is_submitted_again(page: Page, site: Site) -> None:
    """The form shows what the old job had; if that is unchanged the new one names it, and has its options."""
    job_id = site.submit("count", 3, tags={"user": "7"}, priority=1)
    page.goto(f"{site.url}/#job={job_id}")
    page.get_by_role("button", name="Submit again…").click()
    expect(page.get_by_role("heading", name="Submit again")).to_be_visible()
    expect(page.locator("#submit-tags")).to_have_value("user=7")
    page.locator("#submit-button").click()
    expect(page.locator("#job-facts")).to_contain_text("Submitted again from")
    expect(page.locator("#job-facts")).to_contain_text(job_id)
    expect(page.locator("#job-facts")).to_contain_text("high")
