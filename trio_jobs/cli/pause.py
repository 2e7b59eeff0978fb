"""`trio-jobs pause` and `trio-jobs resume`: let no worker start jobs of handlers, and let them go on."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter

from .._common.validate import RefusedAs
from ..stores.pauses import Pauses
from .faults import Fault
from .opening import open_jobs, open_readonly
from .options import DEFAULT_STORE, Jobs, Json
from .output import say
from .signals import stopped_by_signals

Handlers: TypeAlias = Annotated[str, Parameter(name="HANDLER", help="Names of handlers.")]
All: TypeAlias = Annotated[bool, Parameter(name="--all", negative=(), help="All handlers.")]


async def pause(
    *handlers: Handlers, everything: All = False, store: Jobs = DEFAULT_STORE, json: Json = False
) -> None:
    """Let no worker start jobs of handlers until they are resumed, and print what is paused.

    Jobs are accepted meanwhile, and what runs goes on.
    """
    await _set(handlers, store, everything=everything, paused=True, json=json)


async def resume(
    *handlers: Handlers, everything: All = False, store: Jobs = DEFAULT_STORE, json: Json = False
) -> None:
    """Let jobs of handlers start again, with --all of each that is paused, and print what still is."""
    await _set(handlers, store, everything=everything, paused=False, json=json)


async def _set(handlers: tuple[str, ...], store: str, *, everything: bool, paused: bool, json: bool) -> None:
    word = "pause" if paused else "resume"
    if everything is bool(handlers):
        raise Fault(f"{word} takes the names of handlers, or --all in their place")
    with open_readonly(store):
        pass  # the file exists and holds jobs; opening a registry would make it
    async with stopped_by_signals(), open_jobs(store) as jobs:
        if everything:
            await (jobs.pause_all() if paused else jobs.resume_all())
        else:
            with RefusedAs(Fault):
                await (jobs.pause_handlers(*handlers) if paused else jobs.resume_handlers(*handlers))
    with open_readonly(store) as seen:
        pauses = seen.pauses()
    say(said(pauses), fields(pauses), json=json)


def fields(pauses: Pauses) -> dict[str, object]:
    """Return what is paused with the names that `Statistics` has for it."""
    return {"all_paused": pauses.everything, "paused_handlers": sorted(pauses.handlers)}


def said(pauses: Pauses) -> str:
    """Return a line that says what is paused."""
    if pauses.everything:
        return "all handlers are paused"
    return f"paused: {', '.join(sorted(pauses.handlers))}" if pauses.handlers else "nothing is paused"
