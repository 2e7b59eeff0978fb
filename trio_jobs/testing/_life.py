"""One job's life: run a handler to its job's end in virtual time, and look at what happened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from .._common.errors import quoted
from .._model.job import Event, Job, Kind
from .._registry.opening import open_registry
from ._seeded import run_seeded

if TYPE_CHECKING:
    from .._watching.handle import JobHandle

LONGEST: Final = 1e6
"""Virtual seconds in which a job has to end."""


@attrs.frozen
class Life:
    """What became of one job.

    Attributes:
        job: The job, when it had ended.
        log: Its whole log.
    """

    job: Job
    log: Sequence[Event] = attrs.field(repr=False)

    @property
    def tokens(self) -> list[Any]:
        """What its last attempt sent."""
        last = self.job.attempt
        return [event.data for event in self.log if event.kind is Kind.TOKEN and event.attempt == last]

    @property
    def kinds(self) -> list[str]:
        """The kinds of its events, in order."""
        return [str(event.kind) for event in self.log]

    def __str__(self) -> str:
        began = self.log[0].timestamp if self.log else 0.0
        lines = [f"job {self.job.handler} is {self.job.state}; its log:"]
        for event in self.log:
            when = f"{event.timestamp - began:.3f}s"
            data = "" if event.data is None else quoted(event.data, 60)
            lines.append(f"{event.seq:>4}  #{event.attempt} {when:>10}  {event.kind:<16} {data}".rstrip())
        return "\n".join(lines)


def run_handler(fn: Callable[..., Awaitable[Any]], /, *args: Any, **options: Any) -> Life:
    """Run a handler to its job's end, retries included, in a registry of its own and in virtual time.

    For tests that are not async. The schedule of tasks is the same each time.

    Args:
        fn: The handler.
        *args: Its arguments.
        **options: As for `JobRegistry.submit`.

    Returns:
        What happened. The job may have failed; that is for the test to judge.

    Raises:
        AssertionError: It did not end within `LONGEST` virtual seconds.
        Exception: What `submit` raises.
    """

    async def live() -> Life:
        async with open_registry() as jobs:
            submit: Any = jobs.submit  # how the handler is typed is not known here
            return await life_of(await submit(fn, *args, **options))

    return run_seeded(live, 0)


async def life_of(handle: JobHandle[Any, Any]) -> Life:
    """Wait for a job's end, and return its life. A checkpoint.

    Raises:
        AssertionError: It did not end within `LONGEST` seconds of Trio's clock.
    """
    log: list[Event] = []
    with trio.move_on_after(LONGEST):
        async with handle.events(policy="gap") as events:
            async for event in events:
                log.append(event)  # noqa: PERF401  # what there is of it is shown if it does not end
        return Life(await handle.snapshot(), log)
    life = Life(await handle.snapshot(), log)
    raise AssertionError(f"the job has not ended after {LONGEST:g} seconds\n{life}")


def expect_events(life: Life, kinds: Sequence[str | EllipsisType]) -> None:
    """Check what kinds of events a job had.

    Args:
        life: What happened.
        kinds: The kinds in order; `...` stands for any number of any kinds.

    Raises:
        AssertionError: It had others; the text shows its log.
    """
    if not _match(life.kinds, list(kinds)):
        wanted = " ".join("…" if kind is ... else str(kind) for kind in kinds)
        raise AssertionError(f"expected the events {wanted}\ngot {' '.join(life.kinds)}\n{life}")


def _match(kinds: list[str], wanted: list[Any]) -> bool:
    if not wanted:
        return not kinds
    if wanted[0] is ...:
        return any(_match(kinds[skipped:], wanted[1:]) for skipped in range(len(kinds) + 1))
    return bool(kinds) and kinds[0] == wanted[0] and _match(kinds[1:], wanted[1:])


def expect_state(life: Life, state: str, *, reason: str | None = None) -> None:
    """Check how a job ended.

    Args:
        life: What happened.
        state: The state it should be in.
        reason: The reason it should have; None if it should have none.

    Raises:
        AssertionError: It ended otherwise; the text shows its log and the error's traceback.
    """
    job = life.job
    if (job.state, job.reason) != (state, reason):
        error = "" if job.error is None else f"\n{job.error.traceback}"
        raise AssertionError(
            f"expected the job to be {state} ({reason}), and it is {job.state} ({job.reason})\n{life}{error}"
        )
