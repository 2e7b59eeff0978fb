"""Schedules: each tick fires once, whatever happens beside it. Stores without schedules pass at once."""

from __future__ import annotations

from typing import Protocol, cast

import attrs
import trio

from ..._common.errors import UnknownJob
from ..._model.job import DEFAULT, Options
from ..._model.options import build
from ..._model.schedule import Schedule, options_of
from ...stores.contract import Store
from ...stores.schedules import KeepsSchedules, ScheduleDeclared, ScheduleRow, UnknownSchedule
from . import kit

_DAILY = Schedule(kit.work, ("a", 2), every=86400.0, name="daily", options={"tags": {"a": "b"}})
_OTHER = Schedule(kit.other_work, every=5.0, name="other")
_HOUR = 3600.0


class Keeper(Store, KeepsSchedules, Protocol):
    """A store that keeps schedules, which is what a check gets whose parameter is named so."""


async def _row(keeper: Keeper, name: str = "daily") -> ScheduleRow:
    rows = [row for row in (await keeper.schedules()).rows if row.schedule.name == name]
    kit.expect(f"schedules: rows named {name!r}", len(rows), 1)
    return rows[0]


async def _declared(keeper: Keeper) -> ScheduleRow:
    await keeper.declare([_DAILY])
    return await _row(keeper)


async def _pass(keeper: Keeper, moment: float) -> None:
    """Wait until the store's clock is past a moment."""

    async def look() -> bool:
        return (await keeper.schedules()).now > moment

    await kit.soon("schedules: now goes on", trio.lowlevel.checkpoint, look)


def _said(schedule: Schedule) -> tuple[Schedule, Options]:
    """Return what a schedule says, with all options of its jobs."""
    return attrs.evolve(schedule, options={}), build(DEFAULT, options_of(schedule))


async def _fire(what: str, keeper: Keeper, row: ScheduleRow, tick: float, *, fires: bool = True) -> str:
    """Fire a tick, check whether it does and whether its job is there, and return the id of that."""
    job = kit.make(tick)
    kit.expect(what, await keeper.fire(row, tick, job), fires)
    if fires:
        kit.expect(f"{what}, then get: state", await kit.states(keeper, job.id), ["queued"])
        now = await _row(keeper, row.schedule.name)
        kit.expect(f"{what}, then schedules: last_tick", now.last_tick, tick)
    else:
        await kit.refused(f"{what}, then get of the job", UnknownJob, keeper.get(job.id))
    return job.id


async def what_is_declared_is_kept(keeper: Keeper) -> None:
    """A schedule is kept as it was declared, and counts from then on; declaring it again changes nothing."""
    before = (await keeper.schedules()).now
    row = await _declared(keeper)
    after = (await keeper.schedules()).now
    kit.expect("declare, then schedules", _said(row.schedule), _said(_DAILY))
    came = row.anchor, row.last_tick
    kit.ensure("declare: the moment", holds=before <= row.anchor == row.last_tick <= after, came=came)
    kit.ensure("declare, then schedules: it is not paused", holds=not row.paused, came=row)
    await keeper.declare([_OTHER])
    await _pass(keeper, after)
    kit.expect("declare again, then schedules", await _declared(keeper), row)
    names = [one.schedule.name for one in (await keeper.schedules()).rows]
    kit.expect("schedules of a store with two", names, ["daily", "other"])


async def a_tick_fires_once(keeper: Keeper) -> None:
    """A tick that has fired does not fire again, whoever saw the row before, nor does an earlier one."""
    row = await _declared(keeper)
    tick = row.last_tick + _HOUR
    job_id = await _fire("fire", keeper, row, tick)
    await _fire("fire of the same tick again", keeper, row, tick, fires=False)
    await _fire("fire of a later tick with an old row", keeper, row, tick + 1, fires=False)
    row = await _row(keeper)
    await _fire("fire of the tick that has fired", keeper, row, tick, fires=False)
    await _fire("fire of an earlier tick", keeper, row, tick - 1, fires=False)
    await _fire("fire of a later tick", keeper, row, tick + 1)
    kit.expect("fire of two ticks, then count", sum((await kit.counted(keeper)).values()), 2)
    kit.expect("fire, then claim", (await kit.claimed(keeper, 1)), [job_id])


async def a_firing_whose_answer_was_lost_is_repeated(keeper: Keeper) -> None:
    """The same job fired again for the same tick is accepted once."""
    row, job = await _declared(keeper), kit.make()
    for _ in range(2):
        await keeper.fire(row, row.last_tick + _HOUR, job)
    kit.expect("fire twice, then find", await kit.found(keeper), [job.id])


async def a_tick_whose_job_is_refused_passes(keeper: Keeper) -> None:
    """If the job's `exclusive` name is held, `on_busy` says what becomes of it, and the tick has fired."""
    row = await _declared(keeper)
    (holder,) = await kit.accept(keeper, kit.make(exclusive="x"))
    for policy in ("reject", "attach", "replace"):
        row, tick = await _row(keeper), row.last_tick + _HOUR
        job = kit.make(exclusive="x", on_busy=policy)
        kit.ensure(f"fire, on_busy={policy}", holds=await keeper.fire(row, tick, job), came=row)
        row = await _row(keeper)
        kit.expect(f"fire, on_busy={policy}, then schedules: last_tick", row.last_tick, tick)
        wanted = sorted([job.id, holder]) if policy == "replace" else [holder]
        came = sorted(await kit.found(keeper))
        kit.expect(f"fire, on_busy={policy}, then find", came, wanted)


async def many_fire_a_tick_once(keeper: Keeper) -> None:
    """However many fire a tick at once, one does."""
    row = await _declared(keeper)
    fired = list[bool]()

    async def fire() -> None:
        fired.append(await keeper.fire(row, row.last_tick + _HOUR, kit.make()))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(fire)
    kit.expect("fire of one tick, by eight at once", sorted(fired), [False] * 7 + [True])
    kit.expect("fire of one tick, then find", len(await kit.found(keeper)), 1)


async def what_is_pruned_fires_no_more(keeper: Keeper) -> None:
    """That the job of a tick was removed or pruned does not let the tick fire again."""
    row = await _declared(keeper)
    tick = row.last_tick + _HOUR
    job_id = await _fire("fire", keeper, row, tick)
    await keeper.request_cancel(job_id, None)
    await keeper.prune(0)
    await _fire("fire again, after prune", keeper, row, tick, fires=False)
    await _fire("fire again, after prune", keeper, await _row(keeper), tick, fires=False)


async def a_change_counts_from_then_on(keeper: Keeper) -> None:
    """After a change ticks count that are later; the row as it was seen before fires nothing."""
    row = await _declared(keeper)
    await _pass(keeper, row.last_tick)
    await keeper.declare([Schedule(kit.work, ("b",), kwargs={"c": 1}, every=86400.0, name="daily")])
    changed = await _row(keeper)
    found = changed.schedule.args, dict(changed.schedule.kwargs)
    kit.expect("declare of other arguments, then schedules: args and kwargs", found, (("b",), {"c": 1}))
    kit.expect("declare of other arguments, then schedules: anchor", changed.anchor, row.anchor)
    came = row.last_tick, changed.last_tick
    kit.ensure("declare of other arguments: last_tick is later", holds=came[0] < came[1], came=came)
    await _fire("fire with a row of before a change", keeper, row, row.last_tick + _HOUR, fires=False)
    await keeper.declare([Schedule(kit.work, ("b",), kwargs={"c": 1}, every=60.0, name="daily")])
    changed = await _row(keeper)
    came = row.anchor, changed.anchor
    kit.ensure("declare of another `every`: anchor is later", holds=came[0] < came[1], came=came)
    await _fire("fire after a change", keeper, changed, changed.last_tick + _HOUR)


async def a_pause_holds_until_it_ends(keeper: Keeper) -> None:
    """A paused schedule fires nothing, also when it was declared again; a resumed one fires later ticks."""
    row = await _declared(keeper)
    await keeper.pause_schedule("daily", paused=True)
    tick = row.last_tick + _HOUR
    await _fire("fire while it is paused", keeper, row, tick, fires=False)
    paused = await _declared(keeper)
    kit.ensure("pause_schedule and declare: it is paused", holds=paused.paused, came=paused)
    await _fire("fire while it is paused", keeper, paused, tick, fires=False)
    await _pass(keeper, row.last_tick)
    await keeper.pause_schedule("daily", paused=False)
    resumed = await _row(keeper)
    came = row.last_tick, resumed.last_tick
    kit.ensure("pause_schedule(paused=False): last_tick is later", holds=came[0] < came[1], came=came)
    for old in (row, paused):
        await _fire("fire with a row of before it was resumed", keeper, old, tick, fires=False)
    await _fire("fire after it was resumed", keeper, resumed, tick)
    for paused_ in (True, False):
        call = keeper.pause_schedule("never", paused=paused_)
        error = await kit.refused("pause_schedule of what was not declared", UnknownSchedule, call)
        kit.expect("UnknownSchedule: name", error.name, "never")


async def what_runs_declares_is_left_to_it(keeper: Keeper) -> None:
    """What a running registry declares can be neither replaced nor removed; what was added can."""
    await keeper.add_schedule(_OTHER)
    row = await _row(keeper, "other")
    kit.ensure("add_schedule: it was added, and is not declared", holds=row.added, came=row)
    await _declared(keeper)
    other = attrs.evolve(_OTHER, name="daily")
    error = await kit.refused(
        "add_schedule of what is declared", ScheduleDeclared, keeper.add_schedule(other)
    )
    kit.expect("ScheduleDeclared: name", error.name, "daily")
    removing = keeper.remove_schedule("daily")
    await kit.refused("remove_schedule of what is declared", ScheduleDeclared, removing)
    said = _said((await _row(keeper)).schedule)
    kit.expect("add_schedule of what is declared, then schedules", said, _said(_DAILY))
    await keeper.add_schedule(_OTHER)
    kit.expect("add_schedule again, then schedules", await _row(keeper, "other"), row)
    await _fire("fire of what was added", keeper, row, tick := row.last_tick + 5)
    await keeper.add_schedule(attrs.evolve(_OTHER, every=7.0))
    await _fire("fire with a row of before a change", keeper, row, tick + 5, fires=False)
    await keeper.remove_schedule("other")
    kit.expect(
        "remove_schedule, then schedules",
        [one.schedule.name for one in (await keeper.schedules()).rows],
        ["daily"],
    )
    await _fire("fire of what was removed", keeper, row, tick + 5, fires=False)
    await kit.refused("remove_schedule again", UnknownSchedule, keeper.remove_schedule("other"))


async def whose_registry_has_gone_is_not_declared(keeper: Keeper) -> None:
    """What was declared counts as declared for a while; `keep_declared` prolongs that, and makes no row."""
    await keeper.declare([_DAILY, _OTHER])
    table = await keeper.schedules()
    ends = [row.declared_until for row in table.rows]
    kit.ensure("declare: until when it is", holds=min(ends) > table.now, came=(table.now, ends))
    await _pass(keeper, table.now)
    await keeper.keep_declared(["other", "never"])
    later = [row.declared_until for row in (await keeper.schedules()).rows]
    came = ends, later
    kit.ensure("keep_declared of one of two", holds=later[0] == ends[0] and later[1] > ends[1], came=came)
    await keeper.add_schedule(attrs.evolve(_OTHER, name="mine"))
    await keeper.declare([attrs.evolve(_OTHER, name="mine")])
    row = await _row(keeper, "mine")
    kit.ensure("declare of what was added: it is declared", holds=not row.added, came=row)


async def schedules_outlive_the_process(open_durable: kit.Opener) -> None:
    """What was declared, has fired or was paused is so when the store is opened again."""
    async with open_durable() as store:
        if not isinstance(store, KeepsSchedules):
            return
        keeper = cast("Keeper", store)
        row = await _declared(keeper)
        await _fire("fire", keeper, row, tick := row.last_tick + _HOUR)
        await keeper.pause_schedule("daily", paused=True)
        await keeper.add_schedule(_OTHER)
        rows = [await _row(keeper), await _row(keeper, "other")]
    async with open_durable() as store:
        keeper = cast("Keeper", store)
        row = await _declared(keeper)
        kit.expect("schedules, after it was opened again", [row, await _row(keeper, "other")], rows)
        await _fire("fire of what has fired, after it was opened again", keeper, row, tick, fires=False)
        await _fire("fire of what is paused, after it was opened again", keeper, row, tick + 1, fires=False)


async def schedules_are_shared(keeper: Keeper, other: Keeper) -> None:
    """What one connection declares, pauses and fires, the other one sees; each tick fires once."""
    row = await _declared(keeper)
    kit.expect("declare elsewhere, then schedules", await _row(other), row)
    tick = row.last_tick + _HOUR
    await _fire("fire", keeper, row, tick)
    await _fire("fire of what has fired elsewhere", other, row, tick, fires=False)
    await other.pause_schedule("daily", paused=True)
    await _fire("fire of what was paused elsewhere", keeper, await _row(keeper), tick + 1, fires=False)
