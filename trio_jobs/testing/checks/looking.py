"""`find` and `count`: which jobs are meant."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import trio

from ..._common.states import Reason, State
from ..._model.job import Kind, Priority, Progress, Timeouts
from ..._model.summary import summary_of
from ..._registry.filter import every
from ...stores.contract import Store, Where
from ...stores.records import PAGE_JOBS
from . import kit


async def get_says_what_a_job_waits_for(store: Store) -> None:
    """`waiting_for` is `behind ID`, else `input` or `due`, else `slot`, or `worker` while no attempt runs."""
    named: dict[str, Any] = {"exclusive": "chat", "on_busy": "after"}
    ids = await kit.accept(store, kit.make(), kit.make(delay=kit.LONG), kit.make(priority=0))
    ids += await kit.accept(store, kit.make(**named, delay=kit.LONG))
    ids += await kit.accept(store, kit.make(**named, delay=kit.LONG))
    behind = f"behind {ids[3]}"
    await kit.expect_waits(store, ids, ["worker", "due", "worker", "due", behind])
    await kit.again(store, ids[2])
    await kit.expect_waits(store, ids, ["slot", "due", None, "due", behind])
    await store.finish(ids[2], 1, kit.awaiting(kit.LONG))
    await kit.expect_waits(store, ids, ["worker", "due", "input", "due", behind])
    await store.send(ids[2], "a", [1])
    await store.request_cancel(ids[3], None)
    await kit.expect_waits(store, ids, ["worker", "due", "worker", None, "due"])
    await kit.again(store, ids[2])
    await store.finish(ids[2], 2, kit.retried(delay=kit.LONG))
    await kit.expect_waits(store, ids, ["worker", "due", "due", None, "due"])


async def _four(store: Store) -> dict[str, str]:
    """Make four jobs, one after the other: a runs, b and c wait, d is a child of a."""
    a = kit.make("a", tags={"user": "7", "size": "L"}, priority=Priority.URGENT)
    b, c = kit.make("b", tags={"user": "7"}), kit.make("c", owner="me", target=kit.other_work)
    await kit.accept(store, a)
    await store.claim(1, kit.HOLDER)
    await kit.accept(store, b)
    await kit.accept(store, c)
    d = kit.make("d", tags={"size": "L"})
    await store.spawn(a.id, 1, d, kit.HOLDER)
    return {a.id: "a", b.id: "b", c.id: "c", d.id: "d"}


def _questions(parent: str) -> list[tuple[Where, str]]:
    return [
        (Where(), "abcd"),
        (Where(states={State.QUEUED}), "bc"),
        (Where(states=[State.QUEUED, State.RUNNING]), "abcd"),
        (Where(states={State.FAILED}), ""),
        (Where(states=()), ""),
        (Where(tags={"user": "7"}), "ab"),
        (Where(tags={"user": "7", "size": "L"}), "a"),
        (Where(tags={"user": "8"}), ""),
        (Where(tags={"7": "user"}), ""),
        (Where(tags={}), "abcd"),
        (Where(handler="other_work"), "c"),
        (Where(handler="nobody"), ""),
        (Where(owner="me"), "c"),
        (Where(owner="you"), ""),
        (Where(parent=parent), "d"),
        (Where(parent="nobody"), ""),
        (Where(states={State.QUEUED}, tags={"user": "7"}), "b"),
        (Where(states={State.RUNNING}, tags={"size": "L"}, handler="work", parent=parent), "d"),
        (Where(states={State.RUNNING}, owner="me"), ""),
    ]


async def find_gives_what_matches(store: Store) -> None:
    """A job is found when each field that is given matches; the oldest comes first. `count` counts these."""
    kit.expect("count of an empty store", await kit.counted(store), {})
    names = await _four(store)
    for where, wanted in _questions(next(iter(names))):
        found = "".join(names[job.id] for job in await store.find(where, kit.ALL))
        kit.expect(f"find of {where}", found, wanted)
        await _expect_counted(store, where, "the last submit")


async def find_gives_what_has_a_reason(store: Store) -> None:
    """A job is found by the reason of its state, as by the others of its fields, and counted so."""
    failed, tried, snoozed = [await kit.started(store) for _ in range(3)]
    await store.finish(failed, 1, kit.failed())
    await store.finish(tried, 1, kit.retried(delay=kit.LONG))
    await store.finish(snoozed, 1, kit.retried(Reason.SNOOZED, delay=kit.LONG))
    names = {failed: "f", tried: "t", snoozed: "s"}
    for where, wanted in (
        (Where(reason=Reason.ERROR), "ft"),
        (Where(reason=Reason.ERROR, states={State.RETRYING}), "t"),
        (Where(reason=Reason.SNOOZED), "s"),
        (Where(reason=Reason.SNOOZED, handler="work", states={State.RETRYING, State.FAILED}), "s"),
        (Where(reason=Reason.SNOOZED, states={State.FAILED}), ""),
        (Where(reason=Reason.USER), ""),
    ):
        found = "".join(names[job.id] for job in await store.find(where, kit.ALL))
        kit.expect(f"find of {where}", found, wanted)
        kit.expect(f"count of {where}", sum((await store.count(where)).values()), len(wanted))


async def find_stops_at_its_limit(store: Store) -> None:
    """`find` returns up to `limit` jobs, the oldest of those that match; on request, the newest."""
    names = await _four(store)
    for limit in range(6):
        found = "".join(names[job.id] for job in await store.find(Where(), limit))
        kit.expect(f"find with limit={limit}", found, "abcd"[:limit])
        found = "".join(names[job.id] for job in await store.find(Where(), limit, newest=True))
        kit.expect(f"find of the newest with limit={limit}", found, "dcba"[:limit])
    found = "".join(names[job.id] for job in await store.find(Where(states={State.QUEUED}), 1))
    kit.expect("find of QUEUED jobs with limit=1", found, "b")


async def find_and_get_agree(store: Store) -> None:
    """What `find` says of a job is what `get` says, with no more than the beginning of a message."""
    names = await _four(store)
    await store.finish(next(iter(names)), 1, kit.failed("it failed " * 100))
    for one in await store.find(Where(), kit.ALL):
        job = await store.get(one.id)
        given = ("args_bytes", "result_bytes", "log_bytes", "args_text")
        sizes = {name: getattr(one, name) for name in given}
        kit.expect("find, then get", one, summary_of(job, **sizes))


async def arguments_are_told(store: Store) -> None:
    """`get` says what a job's arguments are, and `find` their first 200 characters, if they are short."""
    args = ("a", {"b": [1, None, "é"]})
    ids = await kit.accept(store, kit.make(*args), kit.make(), kit.make("c" * 300), kit.make("d" * 20_000))
    found: list[Any] = [[*((await store.get(job_id)).args or ())] for job_id in ids]
    kit.expect("get, the arguments", found, [[*args], [], ["c" * 300], ["d" * 20_000]])
    texts = [(one.args_text or "").replace(" ", "") for one in await store.find(Where(), kit.ALL)]
    kit.expect(
        "find, the texts of the arguments", texts[:3], ['["a",{"b":[1,null,"é"]}]', "[]", '["' + "c" * 198]
    )
    holds = texts[3] in {"", '["' + "d" * 198}  # a store need not read so much
    kit.ensure("find, the text of large arguments", holds=holds, came=texts[3])


async def hidden_arguments_are_not_told(store: Store) -> None:
    """A job with `hide_args` has none in `get`, `ended` and `find`, and its attempt is given them."""
    secret = kit.make("secret", kwargs={"token": "secret"})
    secret.options = attrs.evolve(secret.options, hide_args=True)
    await kit.accept(store, secret)
    (claim,) = await store.claim(1, kit.HOLDER)
    kit.expect("claim, the arguments", claim.submission.args, ("secret",))
    (one,) = await store.find(Where(), kit.ALL)
    job = await store.get(secret.id)
    await store.finish(secret.id, 1, kit.completed())
    ended = await store.ended(secret.id)
    told = [job.args, job.kwargs, one.args_text, ended.args, ended.kwargs]
    kit.expect("get, find and ended, the arguments", told, [None] * 5)


async def arguments_are_searched(store: Store) -> None:
    """`args_contain` selects jobs by a piece of their arguments as JSON, in the same case, if told."""
    hidden = kit.make("Größe")
    hidden.options = attrs.evolve(hidden.options, hide_args=True, owner="me")
    plain = kit.make("Größe", {"b": [1, None]}), kit.make('say "50%"', tags={"a": '"hide_args":true'})
    ids = await kit.accept(
        store, *plain, hidden, kit.make("x" * 20_000, "Größe"), kit.make("c", kwargs={"d": "e"})
    )
    names = dict(zip(ids, "abhlk", strict=True))
    for where, wanted in (
        (Where(args_contain="röß"), "a"),
        (Where(args_contain='"Größe",{"b":[1,null]}'), "a"),
        (Where(args_contain="GRÖ"), ""),
        (Where(args_contain='say \\"50%\\"'), "b"),
        (Where(args_contain="5_%"), ""),
        (Where(args_contain="%"), "b"),
        (Where(args_contain="röß", states={State.QUEUED}, handler="work"), "a"),
        (Where(args_contain="röß", states={State.FAILED}), ""),
        (Where(args_contain='{"args":["c"],"kwargs":{"d":"e"}}'), "k"),
        (Where(args_contain="röß", owner="me"), ""),
    ):
        found = "".join(names[job.id] for job in await store.find(where, kit.ALL))
        kit.expect(f"find of {where}", found.removesuffix("l"), wanted)  # a store need not read so much
        kit.expect(f"count of {where}", sum((await store.count(where)).values()), len(found))


async def a_summary_says_how_far_and_how_large(store: Store) -> None:
    """A summary has the progress said last, and sizes that grow with arguments, result and log."""
    small, large = await kit.started(store, "a"), await kit.started(store, "a" * 5000)
    for job_id, size in ((small, 1), (large, 5000)):
        await store.append(job_id, 1, Kind.PROGRESS, [Progress(1), Progress(2, 3, "said " * 100)], 0)
        await store.append(job_id, 1, Kind.TOKEN, ["b" * size], 2)
    before = list(await store.find(Where(), kit.ALL))
    kit.expect("find, the sizes of results", [one.result_bytes for one in before], [0, 0])
    await store.finish(small, 1, kit.completed("c"))
    await store.finish(large, 1, kit.completed("c" * 5000))
    one, other = await store.find(Where(), kit.ALL)
    kit.expect("find, the progress", one.progress, Progress(2, 3, ("said " * 100)[:200]))
    for name in ("args_bytes", "result_bytes", "log_bytes"):
        less, more = getattr(one, name), getattr(other, name)
        holds = less > 0 and less + 4900 < more < less + 6000
        kit.ensure(f"find: {name} grows", holds=holds, came=(less, more))


async def pages_follow_each_other(store: Store) -> None:
    """`after` goes on behind a page, either way; jobs that come or go meanwhile change nothing about that."""
    tagged = Where(tags={"a": "b"})
    ids = await kit.accept(store, *(kit.make(tags={"a": "b"}) for _ in range(5)))
    page = await store.find(tagged, 2)
    kit.expect("find, the first page", [job.id for job in page], ids[:2])
    ids += await kit.accept(store, kit.make(), kit.make(tags={"a": "b"}))
    await store.request_cancel(ids[1], None)
    await store.remove(ids[1])
    rest = await store.find(tagged, kit.ALL, after=page.next)
    kit.expect("find, what is behind the first page", [job.id for job in rest], [*ids[2:5], ids[6]])
    kit.expect("find, where to go on behind the last page", rest.next, None)
    page = await store.find(tagged, 2, newest=True)
    kit.expect("find of the newest, the first page", [job.id for job in page], [ids[6], ids[4]])
    rest = await store.find(tagged, 3, newest=True, after=page.next)
    kit.expect("find of the newest, the rest", [job.id for job in rest], [ids[3], ids[2], ids[0]])
    kit.expect("find of exactly so many as there are, and then", rest.next, None)
    for bad in ("", "no page gave this", "-1", "9" * 30):
        await kit.refused(f"find with after={bad!r}", ValueError, store.find(Where(), 1, after=bad))


async def pages_are_bounded(store: Store) -> None:
    """A page ends at 512 KiB of JSON, and says where to go on."""
    tags = {f"{number:0100}": "v" * 500 for number in range(64)}
    ids = await kit.accept(store, *(kit.make(tags=tags) for _ in range(20)))
    page = await store.find(Where(), kit.ALL)
    kit.ensure("find of large summaries, how many are on a page", holds=10 <= len(page) < 20, came=len(page))
    rest = await store.find(Where(), kit.ALL, after=page.next)
    kit.expect("find of large summaries, page by page", [job.id for job in (*page, *rest)], ids)


async def _expect_counted(store: Store, where: Where, after: str) -> None:
    wanted = Counter(job.state for job in await every(store, where))
    kit.expect(f"count of {where}, after {after},", dict(await store.count(where)), dict(wanted))


async def counts_are_right_after_every_verb(store: Store) -> None:
    """Whatever happens to jobs, `count` says what `find` finds: by state, handler, owner and both."""
    mine, child, key = kit.make(owner="me"), kit.make(owner="me"), kit.make(owner="me", key="k")
    plain, grandchild = kit.make(target=kit.other_work), kit.make(target=kit.other_work)
    hasty = kit.make(owner="me", timeouts=Timeouts(queue=kit.BRIEF))
    steps: dict[str, kit.Act] = {
        "submit": lambda: kit.accept(store, mine),
        "submit and claim": lambda: store.submit([plain], 2, kit.DOOMED),
        "spawn": lambda: store.spawn(mine.id, 1, child, kit.HOLDER),
        "spawn by a child": lambda: store.spawn(child.id, 1, grandchild, kit.HOLDER),
        "finish of a grandchild": lambda: store.finish(grandchild.id, 1, kit.failed()),
        "finish (retried)": lambda: store.finish(mine.id, 1, kit.retried()),
        "submit with a queue timeout": lambda: kit.accept(store, hasty),
        "submit with a key": lambda: kit.accept(store, key),
        "submit with a key again": lambda: kit.accept(store, kit.make(owner="me", key="k")),
        "time": kit.lapse,
        "sweep": store.sweep,
        "claim": lambda: store.claim(1, kit.HOLDER),
        "request_cancel": lambda: store.request_cancel(key.id, None),
        "request_cancel, once more": lambda: store.request_cancel(plain.id, None),
        "remove": lambda: store.remove(child.id),
        "prune": lambda: store.prune(0.01),
        "claim of the rest": lambda: store.claim(kit.ALL, kit.HOLDER),
    }
    for name, step in steps.items():
        await step()
        for where in _COUNTED:
            await _expect_counted(store, where, name)


_COUNTED = (
    *(Where(), Where(handler="work"), Where(owner="me"), Where(owner="me", states={State.QUEUED})),
    *(Where(handler="work", owner="me"), Where(handler="other_work", states={State.CANCELLED, State.FAILED})),
)


async def a_page_has_so_many_jobs(store: Store) -> None:
    """A page has no more than `PAGE_JOBS` jobs, whatever limit was asked for; the next ones have the rest."""
    await kit.accept(store, *[kit.make() for _ in range(kit.MANY)])
    page = await store.find(Where(), kit.ALL)
    what = f"find of {kit.MANY} jobs, how many are on a page"
    kit.ensure(what, holds=len(page) <= PAGE_JOBS, came=len(page))
    found = [job.id for job in await every(store, Where())]
    kit.expect(f"find of {kit.MANY} jobs, page by page", (len(found), len({*found})), (kit.MANY, kit.MANY))


async def what_came_or_ended_of_late_is_found(store: Store) -> None:
    """`newer_than` selects jobs that ended so many seconds ago, at most, or have not ended and came then."""
    old, waits = await kit.finished(store), (await kit.accept(store, kit.make(delay=kit.LONG)))[0]
    for seconds in kit.spans():
        await kit.lapse(seconds)
        begin = trio.current_time()
        new = await kit.finished(store)
        found = await kit.found(store, newer_than=seconds)
        ended = await kit.counted(store, newer_than=seconds, states={State.COMPLETED, State.FAILED})
        if trio.current_time() - begin < seconds:
            kit.expect("find of jobs that came or ended of late", found, [new])
            kit.expect("count of jobs that ended of late", ended, {State.COMPLETED: 1})
            kit.expect(
                "find of jobs of the last minute",
                set(await kit.found(store, newer_than=kit.LONG)),
                {old, waits, new},
            )
            return
        await store.remove(new)


async def an_id_is_found_by_its_beginning(store: Store) -> None:
    """`id_prefix` selects jobs by what their ids begin with, among others by the whole id."""
    one, other = await kit.accept(store, kit.make(), kit.make())
    for prefix, ids in (
        (one, [one]),
        (one[:12], [one]),
        (other[:12], [other]),
        ("", [one, other]),
        (f"{one}0", []),
    ):
        kit.expect(f"find of ids that begin with {prefix!r}", await kit.found(store, id_prefix=prefix), ids)
        kit.expect(
            f"count of ids that begin with {prefix!r}",
            sum((await kit.counted(store, id_prefix=prefix)).values()),
            len(ids),
        )


async def what_ended_long_ago_is_found(store: Store) -> None:
    """`older_than` selects jobs that ended so many seconds ago, at least, whenever they came."""
    old = await kit.finished(store)
    kit.expect("find of jobs that ended a minute ago", await kit.found(store, older_than=kit.LONG), [])
    for seconds in kit.spans():
        new = await kit.started(store)
        await kit.lapse(seconds)
        kit.expect("find of older jobs", await kit.found(store, older_than=seconds), [old])
        begin = trio.current_time()
        await store.finish(new, 1, kit.failed())
        found = await kit.found(store, older_than=seconds)
        if trio.current_time() - begin < seconds:
            kit.expect("find of older jobs, as another has ended", found, [old])
            await kit.lapse(seconds)
            came = await kit.counted(store, older_than=seconds, handler="work")
            kit.expect("count of older jobs", came, dict.fromkeys((State.COMPLETED, State.FAILED), 1))
            return
        await store.remove(new)
