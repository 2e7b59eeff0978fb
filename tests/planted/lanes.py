"""One lane of the hunt: print `found N` when the N-th try has failed, or `clean N` after all have passed."""

from __future__ import annotations

import logging
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from trio.testing import MockClock

from trio_jobs import JobContext, Reason
from trio_jobs.stores import Store
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.sqlite import open_sqlite
from trio_jobs.testing import (
    Check,
    Life,
    OpenStore,
    SimulationFailed,
    TrioMachine,
    cancel_at_every_checkpoint,
    narrow_store_checks,
    simulate,
    store_checks,
)
from trio_jobs.testing.checks import QUEUE_LIMIT, RETENTION
from trio_jobs.testing.checks.kit import other_work, service_work, work

SEEDS, EXAMPLES, SESSIONS = 1500, 300, 100
DRAWS = 5  # of as many examples, as some bugs are met in few, and any change has Hypothesis draw others
FIRST = int(sys.argv[2]) if len(sys.argv) > 2 else 1  # of the checks or seeds; those before it come last
BUSY = 600  # seconds of processor time after which a lane spins: how busy the machine is must not decide that


@asynccontextmanager
async def open_store(folder: Path) -> AsyncIterator[Store]:
    store = MemoryStore()
    yield store
    store.close(Reason.SHUTDOWN)


@asynccontextmanager
async def open_narrow(folder: Path) -> AsyncIterator[Store]:
    store = MemoryStore(queue_limit=QUEUE_LIMIT, retention=RETENTION)
    yield store
    store.close(Reason.SHUTDOWN)


def _from_the_first(last: int) -> list[int]:
    return [*range(FIRST, last + 1), *range(1, min(FIRST, last + 1))]


def store_lane() -> str:
    """Run the checks of a store, the narrow ones first, as they are few."""
    checks = [(check, open_narrow) for check in narrow_store_checks()]
    checks += [(check, open_store) for check in store_checks()]
    return _checked(checks, lambda: MockClock(autojump_threshold=0))


def file_lane() -> str:
    """Run the checks of a store on one in a file."""

    @asynccontextmanager
    async def open_file(folder: Path) -> AsyncIterator[Store]:
        async with open_sqlite(
            folder / "jobs.db", handlers=[work, other_work, service_work], synchronous="normal"
        ) as store:
            yield store

    return _checked([(check, open_file) for check in store_checks()])


def postgres_lane() -> str:
    """Run the checks of a store on one in a database, on the server that the hunt shares."""
    sys.path.append(str(Path(__file__).parents[2]))  # behind the package with the bug
    from tests.postgres import shared
    from tests.stores.postgres.test_conformance import emptied
    from trio_jobs.stores.postgres import open_postgres

    with (
        shared(Path(os.environ["TRIO_JOBS_SERVER"])) as server,
        contextmanager(emptied)(server, open_postgres) as opened,
    ):
        narrow = partial(opened, queue_limit=QUEUE_LIMIT, retention=RETENTION)
        checks = [(check, narrow) for check in narrow_store_checks()]
        return _checked([*checks, *((check, opened) for check in store_checks())])


def _checked(checks: Sequence[tuple[Check, OpenStore]], clock: Callable[[], MockClock] | None = None) -> str:
    for tries in _from_the_first(len(checks)):
        check, opener = checks[tries - 1]
        try:
            check.run(opener, clock=clock)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is found
            print(check, error)
            return f"found {tries}"
    return f"clean {len(checks)}"


def simulation_lane() -> str:
    """Simulate seed by seed."""
    for tries in _from_the_first(SEEDS):
        try:
            simulate(seed=tries - 1)
        except SimulationFailed as failed:
            print(failed)
            return f"found {tries}"
    return f"clean {SEEDS}"


def _written(machine: type[TrioMachine], examples: int, steps: int) -> str:
    """Let Hypothesis draw programs of a machine, seed by seed, and do not shrink what it finds."""
    tries = 0

    class Counted(machine):  # type: ignore[valid-type, misc]  # whichever it is
        def __init__(self) -> None:
            nonlocal tries
            tries += 1
            super().__init__()

    drawn = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
        ],
    )
    for number in range(DRAWS):
        try:
            run_state_machine_as_test(seed(number)(Counted), settings=drawn)
        except BaseException as error:  # noqa: BLE001  # a flaky failure is a failure too
            print(type(error).__name__, error)
            return f"found {tries}"
    return f"clean {tries}"


def lives_lane() -> str:
    """Draw lives of jobs."""
    from trio_jobs.testing import JobMachine  # loads Hypothesis, which the other lanes need not

    return _written(JobMachine, 2 * EXAMPLES, 50)


def streams_lane() -> str:
    """Draw lives of a job that streams."""
    sys.path.append(str(Path(__file__).parents[2]))  # behind the package with the bug
    from tests.testing.flow import FlowMachine

    return _written(FlowMachine, 2 * EXAMPLES, 40)  # in place and by the contract


def file_streams_lane() -> str:
    """Draw the same in a file that two processes have open."""
    sys.path.append(str(Path(__file__).parents[2]))  # behind the package with the bug
    from tests.testing.flow import FlowBetweenProcesses

    return _written(FlowBetweenProcesses, EXAMPLES, 30)


def serving_lane() -> str:
    """Draw sessions of peers with a server."""
    sys.path.append(str(Path(__file__).parents[2]))  # behind the package with the bug
    from tests.serving.machine.machine import ServerMachine

    return _written(ServerMachine, SESSIONS, 20)


async def _rests(job: JobContext[str]) -> None:
    await trio.sleep(1)


async def _does_all(job: JobContext[str]) -> str:
    """Use each method of a context, and leave a child and a task behind that end it."""
    await job.send("one")
    await job.send_many(["two", "three"])
    await job.progress(1, 2)
    await job.save(1)
    await (await job.spawn(_rests)).wait()
    await job.tokens.send("four")
    await job.send("five")
    await job.save(2)
    await job.spawn(_rests)
    job.nursery.start_soon(trio.sleep, 0.5)
    return "done"


def cancel_lane() -> str:
    """Cancel a handler at every checkpoint."""
    tries = 0

    def count(life: Life) -> None:
        nonlocal tries
        tries += 1

    try:
        cancel_at_every_checkpoint(_does_all, check=count)
    except AssertionError as error:
        print(error)
        return f"found {tries + 1}"
    return f"clean {tries}"


def damage_lane() -> str:
    """Use a file in which rows are damaged, in one way after the other."""
    sys.path.append(str(Path(__file__).parents[2]))  # behind the package with the bug
    from tests.stores.sqlite.damage import KINDS
    from tests.stores.sqlite.test_damage import test_a_damaged_row

    for tries, kind in enumerate(KINDS, 1):
        with TemporaryDirectory() as folder:
            try:
                trio.run(test_a_damaged_row, kind, Path(folder))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is found
                print(kind, error)
                return f"found {tries}"
    return f"clean {len(KINDS)}"


LANES = {
    "damage": damage_lane,
    "store": store_lane,
    "file": file_lane,
    "postgres": postgres_lane,
    "simulation": simulation_lane,
    "lives": lives_lane,
    "streams": streams_lane,
    "file-streams": file_streams_lane,
    "cancel": cancel_lane,
    "serving": serving_lane,
}

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_CPU, (BUSY, BUSY + 5))
    print(LANES[sys.argv[1]]())
