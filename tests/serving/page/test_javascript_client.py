"""The JavaScript client, in a real browser, over connections that are cut."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from playwright.sync_api import Page, WebSocketRoute

from .chromium import in_browser
from .line import Line
from .site import Site

pytestmark = [pytest.mark.deep, pytest.mark.xdist_group("browser")]

ROOT = Path(__file__).parents[3]
HOWTO = ROOT / "docs/howto/javascript.md"
PAGE = ROOT / "trio_jobs/serving/page"

CONNECT = """async (url) => {
    const {connect} = await import("/page/trio_jobs.js");
    window.states = [];
    window.jobs = connect(url, {onstate: (state, detail) => states.push([state, detail])});
    window.times = (wanted) => states.filter(([state]) => state === wanted).length;
    window.seen = [];
    window.read = async (id, from) => {
        for await (const event of jobs.follow(id, from)) seen.push(event.seq);
    };
}"""


def connect(page: Page, site: Site, url: str = "") -> None:
    """Connect from a page that is not the live one."""
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    page.goto(f"{url or site.url}/healthz")
    page.evaluate(CONNECT, url or site.url)


def through(page: Page, site: Site, nursery: trio.Nursery) -> Line:
    """Connect over a connection that can be cut."""
    line = Line(site.port)
    site.do(line.open, nursery)
    connect(page, site, f"http://127.0.0.1:{line.port}")
    return line


@in_browser()
def test_every_call_does_what_it_says(page: Page, site: Site) -> None:
    """Submit, get, list, history, wait, handlers, statistics, pauses and cancel give what the server has."""
    connect(page, site)
    found: dict[str, Any] = page.evaluate("""async () => {
        const pages = async () => {
            const ids = [];
            for (let cursor; cursor !== null; ) {
                const {jobs: some, next} = await jobs.list({limit: 1, ...(cursor && {cursor})});
                ids.push(...some.map(({id}) => id));
                cursor = next;
            }
            return ids;
        };
        const job = await jobs.submit("count", [3], {tags: {user: "7"}, priority: "high"});
        const waiting = await jobs.submit("wait", [1]);
        const ended = await jobs.wait(job.id);
        return {
            job, ended,
            got: await jobs.get(job.id),
            found: (await jobs.list({tags: {user: "7"}})).jobs.map(({id}) => id),
            newest: (await jobs.list({newest: true, limit: 1})).jobs.map(({id}) => id === waiting.id),
            pages: await pages(),
            history: (await jobs.history(job.id)).map(({kind}) => kind),
            handlers: (await jobs.handlers()).map(({name}) => name),
            statistics: await jobs.statistics(),
            paused: (await jobs.pause(["form"])).paused_handlers,
            resumed: (await jobs.resume(null)).paused_handlers,
            report: await jobs.cancel(waiting.id, {reason: "enough"}),
            again: await jobs.cancel(waiting.id),
        };
    }""")
    job = found["job"]
    assert (job["handler"], job["priority"], job["tags"]) == ("count", "high", {"user": "7"})
    assert (found["ended"]["state"], found["ended"]["result"]) == ("completed", 3)
    assert found["got"] == found["ended"]
    assert found["found"] == [job["id"]]
    assert found["newest"] == [True]
    assert found["pages"][0] == job["id"]
    assert len(found["pages"]) == 2
    assert found["history"] == ["submitted", "started", "completed"]
    assert {"count", "wait", "form"} <= set(found["handlers"])
    assert found["statistics"]["states"]["completed"] == 1
    assert (found["paused"], found["resumed"]) == (["form"], [])
    assert found["report"]["outcome"] == "cancelled"
    assert found["again"]["outcome"] == "already_over"


WHOLE = [2**53 - 1, 2**53, 2**53 + 1, -(2**63), 2**64 - 1, -3, 1.2345678901234567, 0.12345678901234568, 1e300]


@in_browser()
def test_whole_numbers_are_exact(page: Page, site: Site) -> None:
    """An integer that a JavaScript number cannot hold is a BigInt, in both directions; texts and names that
    look like one stay texts."""
    connect(page, site)
    value = {
        "numbers": WHOLE,
        "9007199254740993": '"9007199254740993", \\"',
        "nested": [{"a": 2**53 + 1}, None, True],
    }
    found: dict[str, Any] = page.evaluate(
        """async (text) => {
            const {readJSON, writeJSON} = await import("/page/exact.js");
            const job = await jobs.submit("shout", [readJSON(text)]);
            const tokens = [];
            for await (const {kind, data} of jobs.follow(job.id)) if (kind === "token") tokens.push(data);
            const {result} = await jobs.get(job.id);
            return {
                result: writeJSON(result),
                token: writeJSON(tokens[0], 2),
                kinds: result.numbers.map((one) => typeof one),
                next: String(result.nested[0].a + 1n),
            };
        }""",
        json.dumps(value, separators=(",", ":")),
    )
    for text in (found["result"], found["token"]):
        assert json.loads(text) == value
    assert found["kinds"] == ["number", *["bigint"] * 4, *["number"] * 4]
    assert found["next"] == str(2**53 + 2)


@in_browser()
def test_what_is_large_comes_by_itself(page: Page, site: Site) -> None:
    """A job, its history and its stream have their values whole, however large, or the size of each."""
    job = site.submit("shout_at_length", 2**20)
    connect(page, site)
    found: dict[str, Any] = page.evaluate(
        """async (id) => {
        const job = await jobs.wait(id);
        const brief = await jobs.get(id, {whole: false});
        const history = await jobs.history(id);
        const events = [];
        for await (const event of jobs.follow(id)) events.push(event);
        const size = (value) => typeof value === "string" ? value.length : null;
        return {
            sizes: [job, await jobs.get(id)].map(({result, saved}) => [size(result), size(saved)]),
            brief: [brief.large, "result" in brief],
            value: size(await jobs.value(brief, "result")),
            history: history.map(({data}) => size(data)),
            events: events.map(({kind, data}) => [kind, size(data)]),
            taken: (await jobs.follow(id).take()).map(({data}) => size(data)),
        };
    }""",
        job,
    )
    assert found["sizes"] == [[2**20, 2**20]] * 2
    assert found["brief"] == [{"result": 2**20 + 2, "saved": 2**20 + 2}, False]
    assert found["value"] == 2**20
    assert 2**20 in found["history"]
    assert ["saved", 2**20] in found["events"]
    assert ["completed", 2**20] in found["events"]
    assert found["taken"][-1] == 2**20


@in_browser()
def test_what_the_server_refuses_is_raised_with_its_code(page: Page, site: Site) -> None:
    """An error has the server's code, message and facts; so has that of a stream of an unknown job."""
    connect(page, site)
    found = page.evaluate("""async () => {
        const told = ({name, code, message, details}) => ({name, code, message, details});
        const caught = [];
        const no = "0".repeat(32);
        for (const call of [() => jobs.get(no), () => jobs.submit("nothing"), () => read(no)]) {
            await call().then(() => caught.push(null), (error) => caught.push(told(error)));
        }
        return caught;
    }""")
    assert [error["code"] for error in found] == ["unknown_job", "unknown_handler", "unknown_job"]
    assert {error["name"] for error in found} == {"ServerError"}
    assert "count" in found[1]["details"]["known"]
    assert "nothing" in found[1]["message"]


@in_browser()
def test_a_stream_has_no_gap_and_no_repeat_over_a_line_that_is_cut(
    page: Page, site: Site, nursery: trio.Nursery
) -> None:
    """However often the connection is cut, a reader gets each cursor once, in order, to the end."""
    line = through(page, site, nursery)
    job = site.submit("wait", 40)
    page.evaluate("(id) => void (window.done = read(id))", job)
    for number in range(1, 9):
        site.step(5)
        # Sometimes after the reader has seen them, sometimes while they are on their way.
        if number % 2:
            page.wait_for_function(f"seen.length >= {number} * 15")
        site.do(line.cut)
        page.wait_for_function(f"times('waiting') >= {number}")
        page.evaluate("dispatchEvent(new Event('online'))")  # it need not wait for its turn
        page.wait_for_function(f"times('open') >= {number} + 1")
    page.evaluate("done")
    last = site.do(_last_seq, site, job)
    assert page.evaluate("seen") == list(range(1, last + 1))
    assert line.opened > 8


async def _last_seq(site: Site, job: str) -> int:
    return (await (await site.jobs.get(job)).snapshot()).last_seq


@in_browser()
def test_a_stream_goes_on_after_the_server_was_restarted(page: Page, site: Site) -> None:
    """When a server is back on the same port and file, the client reconnects, and the stream goes on."""
    connect(page, site)
    job = site.submit("wait", 4)
    page.evaluate("(id) => void (window.done = read(id))", job)
    site.step(2)
    page.wait_for_function("seen.length >= 8")
    site.do(site.stop)
    page.wait_for_function("states.at(-1)[0] === 'waiting'")
    late = page.evaluate_handle("() => ({answer: jobs.handlers()})")  # a call made now waits for the server
    site.do(site.start)
    site.step(2)
    page.evaluate("done")
    assert page.evaluate("seen") == list(range(1, site.do(_last_seq, site, job) + 1))
    assert len(late.evaluate("({answer}) => answer")) > 3
    states = page.evaluate("states")
    assert [state for state, _ in states[:3]] == ["connecting", "open", "waiting"]
    assert states[2][1]["code"] == 1001
    assert 0.25 <= states[2][1]["delay"] <= 0.5
    assert states[-1][0] == "open"


@in_browser()
def test_a_job_whose_answer_was_lost_is_submitted_once(page: Page, site: Site, nursery: trio.Nursery) -> None:
    """A submission is sent again when its answer did not arrive, and it is still one job."""
    line = through(page, site, nursery)
    page.evaluate("jobs.handlers()")
    line.dead = True
    page.evaluate("() => void (window.submitted = jobs.submit('count', [2]))")
    site.do(_until_there, site)
    site.do(line.cut)
    line.dead = False
    job = page.evaluate("submitted")
    assert [one.id for one in site.do(site.jobs.find)] == [job["id"]]
    assert line.opened > 2  # the page, and two connections


async def _until_there(site: Site) -> None:
    while not await site.jobs.find():
        await trio.lowlevel.checkpoint()


@in_browser()
def test_inputs_keep_their_order_over_a_line_that_is_cut(
    page: Page, site: Site, nursery: trio.Nursery
) -> None:
    """Inputs that are sent without waiting arrive each once, in order, though answers are lost."""
    line = through(page, site, nursery)
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: frames.append(str(frame))))
    job = site.submit("chat")
    seqs: list[int] = []
    for turn in range(4):
        page.evaluate("jobs.handlers()")
        line.dead = turn % 2 == 1  # what is sent arrives, and no answer comes
        page.evaluate(
            """([id, turn]) => {
                const send = (_, at) => jobs.send(id, `${turn}.${at}`);
                window.sent = Promise.all(Array.from({length: 20}, send));
            }""",
            [job, turn],
        )
        if line.dead:
            site.do(partial(_until_sent, site, job, 20 * turn + 1))
            site.do(line.cut)
            line.dead = False
            page.evaluate("dispatchEvent(new Event('online'))")
        seqs += page.evaluate("sent")
    end = page.evaluate("(id) => jobs.endInputs(id)", job)
    events = page.evaluate(
        """async (id) => {
            const inputs = [];
            for await (const {kind, seq, data} of jobs.follow(id)) {
                if (kind === "input") inputs.push([seq, data]);
            }
            return inputs;
        }""",
        job,
    )
    assert [data for _, data in events] == [f"{turn}.{at}" for turn in range(4) for at in range(20)]
    assert [seq for seq, _ in events] == seqs
    assert end > seqs[-1]


async def _until_sent(site: Site, job: str, count: int) -> None:
    found = 0
    async with (await site.jobs.get(job)).events() as events:
        async for event in events:
            found += event.kind == "input"
            if found == count:
                return


@in_browser()
def test_inputs_that_are_refused(page: Page, site: Site) -> None:
    """A wrong value is refused to its caller only, a key is used once, a handler may take none."""
    connect(page, site)
    found = page.evaluate(
        """async ([id, none]) => {
            const code = (error) => error.code;
            const many = () => jobs.sendMany(id, ["c", "d"], {key: "k"});
            const deep = JSON.parse("[".repeat(40) + "]".repeat(40));
            const sent = ["a", 7, deep, "b"].map((value) => jobs.send(id, value).then(() => "sent", code));
            return [
                ...await Promise.all(sent),
                await many() === await many(),
                await jobs.send(id, "e", {key: "k"}).catch(code),
                await jobs.send(none, 1).catch(code),
            ];
        }""",
        [site.submit("chat"), site.submit("count", 0)],
    )
    assert found == [
        *("sent", "invalid_payload", "bad_request", "sent"),
        *(True, "key_conflict", "no_inputs"),
    ]


@in_browser()
def test_what_is_larger_than_a_server_takes_is_refused(page: Page, site: Site) -> None:
    """A call that is too large fails; those beside it are answered on the next connection."""
    connect(page, site)
    found = page.evaluate(
        """async (id) => {
            const code = (error) => error.code;
            const many = Array(40).fill("x".repeat(10_000));
            const calls = [jobs.sendMany(id, many), jobs.send(id, "b")];
            calls.push(jobs.submit("count", many), jobs.handlers());
            return Promise.all(calls.map((call) => call.then(() => "done", code)));
        }""",
        site.submit("chat"),
    )
    assert found == ["too_large", "done", "too_large", "done"]


@in_browser()
def test_what_a_stopping_server_refuses_is_asked_again(page: Page, site: Site) -> None:
    """A call that is answered with `closing` is made again on the next connection, unseen by the caller."""
    told: list[str] = []

    def stopping(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def back(message: str | bytes) -> None:
            answer = json.loads(message)
            if told or "job" not in answer:
                socket.send(message)
                return
            told.append(answer["job"]["state"])
            socket.send(json.dumps({"re": answer["re"], "error": {"code": "closing", "message": "later"}}))
            socket.close(code=1001)

        server.on_message(back)

    page.route_web_socket("**/v1/ws", stopping)
    connect(page, site)
    job = site.submit("wait", 1)
    assert page.evaluate("(id) => jobs.get(id).then(({id}) => id)", job) == job
    assert len(told) == 1
    assert page.evaluate("times('open')") == 2


@in_browser()
def test_a_server_that_has_fallen_silent_is_noticed(page: Page, site: Site, nursery: trio.Nursery) -> None:
    """If a ping is not answered in time, the client opens another connection."""
    page.clock.install()
    line = through(page, site, nursery)
    page.evaluate("jobs.handlers()")
    line.dead = True
    page.clock.run_for(20_000)
    assert page.evaluate("states.at(-1)[0]") == "open"
    page.clock.run_for(10_000)
    reason = page.evaluate("states.find(([state]) => state === 'waiting')[1].reason")
    assert reason == "the server has fallen silent"
    line.dead = False
    site.do(line.cut)
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_function("states.at(-1)[0] === 'open'")


@in_browser()
def test_waiting_is_longer_each_time_and_not_the_same_for_all(page: Page, site: Site) -> None:
    """Without a server the delays double from half a second to 15, each random between half and all of it."""
    page.clock.install()
    connect(page, site)
    page.evaluate("jobs.handlers()")
    site.do(site.stop)
    for number in range(1, 9):
        page.wait_for_function(f"times('waiting') >= {number}")
        page.clock.run_for(15_000)
    delays = page.evaluate("states.filter(([state]) => state === 'waiting').map(([, {delay}]) => delay)")[:8]
    longest = [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert all(most / 2 <= delay <= most for delay, most in zip(delays, longest, strict=True))
    assert len(set(delays[5:])) == 3
    site.do(site.start)


@in_browser()
def test_a_slow_reader_is_sent_no_more_than_a_window(page: Page, site: Site, nursery: trio.Nursery) -> None:
    """Only a window of a long log is held until the reader moves, also after a new connection."""
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(str(frame))))
    line = through(page, site, nursery)
    job = site.submit("count", 3000)
    page.evaluate("(id) => jobs.wait(id)", job)
    page.evaluate("(id) => void (window.follow = jobs.follow(id))", job)
    first = page.evaluate("follow.next().then(({value}) => value.seq)")
    page.evaluate("jobs.handlers()")  # what was sent before this answer has arrived
    page.evaluate("jobs.handlers()")
    sent = sum(frame.count('"seq":') for frame in frames)
    assert first == 1
    assert 500 <= sent <= 1000
    site.do(line.cut)
    page.wait_for_function("states.at(-1)[0] === 'waiting'")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.evaluate("jobs.handlers()")
    page.evaluate("jobs.handlers()")
    rest: list[int] = page.evaluate("""async () => {
        const seqs = [];
        for (;;) {
            const events = await follow.take();
            if (events.length === 0) return seqs;
            if (events.length > 1000) throw new Error("more than a window was held");
            seqs.push(...events.map(({seq}) => seq));
        }
    }""")
    assert [first, *rest] == list(range(1, 3004))
    assert page.evaluate("follow.cursor") == 3003


@in_browser()
def test_leaving_a_loop_ends_the_reading_and_the_job_goes_on(page: Page, site: Site) -> None:
    """After `break` the server has no reader any more, and a follow from the cursor reads on behind it."""
    connect(page, site)
    job = site.submit("wait", 3)
    site.step()
    cursor = page.evaluate(
        """async (id) => {
        const follow = jobs.follow(id);
        for await (const event of follow) if (event.kind === "token") break;
        return follow.cursor;
    }""",
        job,
    )
    page.evaluate("""async () => { while ((await jobs.statistics()).readers > 0); }""")
    site.step(2)
    page.evaluate("([id, after]) => read(id, {after})", [job, cursor])
    assert page.evaluate("seen")[0] == cursor + 1
    assert site.do(_last_seq, site, job) == page.evaluate("seen.at(-1)")


@in_browser()
def test_closing_ends_everything(page: Page, site: Site) -> None:
    """After `close` calls and streams fail with `Closed`, new ones too, and it does not reconnect."""
    connect(page, site)
    job = site.submit("wait", 1)
    caught = page.evaluate(
        """async (id) => {
        const name = (error) => error.name;
        const waiting = [read(id).catch(name), jobs.wait(id).catch(name)];
        await jobs.handlers();
        jobs.close();
        dispatchEvent(new Event("online"));
        return [...await Promise.all(waiting), await jobs.get(id).catch(name), states.at(-1)[0]];
    }""",
        job,
    )
    assert caught == ["Closed", "Closed", "Closed", "closed"]


@in_browser()
def test_more_calls_than_the_server_takes_at_once_wait_their_turn(page: Page, site: Site) -> None:
    """A hundred calls made at once are all answered."""
    connect(page, site)
    answers = page.evaluate("""async () =>
        (await Promise.all(Array.from({length: 100}, () => jobs.submit("count", [0])))).map(({id}) => id)""")
    assert len(set(answers)) == 100


@in_browser()
def test_who_waits_holds_nobody_up(page: Page, site: Site) -> None:
    """Fifty calls that wait for jobs' ends leave room for others, and all of them are answered."""
    connect(page, site)
    job = site.submit("wait", 1)
    page.evaluate("(id) => { window.waits = Array.from({length: 50}, () => jobs.wait(id)); }", job)
    assert page.evaluate("(id) => jobs.get(id).then(({state}) => state)", job) in {"queued", "running"}
    site.step()
    ended = page.evaluate("Promise.all(waits)")
    assert [one["state"] for one in ended] == ["completed"] * 50


@in_browser()
def test_a_token_that_no_browser_can_send_is_refused(page: Page, site: Site) -> None:
    """A token with characters that a subprotocol cannot have raises a clear error at once."""
    connect(page, site)
    message = page.evaluate("""async () => {
        const {connect} = await import("/page/trio_jobs.js");
        try { connect(location.origin, {token: "a b"}); } catch (error) { return error.message; }
    }""")
    assert "letters, digits" in message


async def test_the_documentation_names_the_files_that_the_client_needs() -> None:
    """Those are the files that it imports, and what these import; also only for types."""
    wanted, found = ["trio_jobs.js"], set[str]()
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            wanted += re.findall(r'"\./(\w+\.js)"', (PAGE / name).read_text("utf-8").partition("*/")[2])
    [copied] = re.findall(r"take a copy of (.*?), which are", HOWTO.read_text("utf-8"), re.DOTALL)
    assert set(re.findall(r"`(\w+\.js)`", copied)) == found


@in_browser()
def test_the_programs_of_the_documentation_do_what_it_shows(page: Page, site: Site) -> None:
    """The blocks of docs/howto/javascript.md run in order, and print what is shown below each."""
    blocks = re.findall(
        r"^```js\n(.*?)^```\n\n```text\n(.*?)^```", HOWTO.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == HOWTO.read_text("utf-8").count("```js") > 3
    code = "\n".join(code for code, _ in blocks)
    code = re.sub(r'^import (\{.*\}) from (".*");', r"const \1 = await import(\2);", code, flags=re.MULTILINE)
    printed: list[str] = []
    connect(page, site)
    page.on("console", lambda said: printed.append(said.text.strip()))
    page.evaluate(f"async () => {{ {code} }}")
    assert printed == [line for _, shown in blocks for line in shown.splitlines()]
