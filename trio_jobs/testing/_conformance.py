"""`check_store`: does a store keep the contract?

Needs neither pytest nor Hypothesis, so that it runs wherever the store does.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import attrs
import trio

from ..stores.contract import Store
from ..stores.limits import KeepsLimits
from ..stores.pauses import KeepsPauses
from ..stores.resubmitting import KeepsSubmissions
from ..stores.schedules import KeepsSchedules
from ..stores.services import KeepsServices
from .checks import CONCERNS, NARROW, SCENES, Opener, first_error, race

OpenStore: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Store]]
"""Opens the store that lives in a folder.

The same folder again is the same store, also while it is open; an empty folder is an empty store. Leaving the
context closes what was opened.
"""

MakeClock: TypeAlias = Callable[[], trio.abc.Clock]


class StoreCheckFailed(AssertionError):
    """A store does not do what the contract says.

    Attributes:
        failures: What went wrong, by check.
    """

    def __init__(self, failures: dict[Check, Exception]) -> None:
        lines = [f"{len(failures)} claims about the store do not hold:"]
        for check, error in failures.items():
            lines += [f"  {check}: {check.claim}", f"    {type(error).__name__}: {error}"]
        super().__init__("\n".join(lines))
        self.failures = failures


@attrs.frozen
class Check:
    """One claim about a store, and how to check it.

    Attributes:
        name: The concern and the check, as in `claiming.claim_goes_by_rank`.
        claim: What is claimed, in a sentence or two.
    """

    name: str
    claim: str
    _check: Callable[..., Awaitable[object]] = attrs.field(repr=False)

    def __str__(self) -> str:
        return self.name

    def run(self, open_store: OpenStore, *, clock: MakeClock | None = None) -> None:
        """Check a store in a Trio run of its own, on an empty folder.

        Checks of what survives, and of several connections, pass at once unless the store is durable; those
        of schedules, limits, pauses and of submitting again, unless it keeps them.

        Args:
            open_store: How to open it.
            clock: Makes the run's clock; real time by default.

        Raises:
            AssertionError: The store does something else.
            Exception: What it raised that it should not.
        """
        with tempfile.TemporaryDirectory(prefix="trio_jobs-") as folder:
            opener = partial(open_store, Path(folder))
            try:
                trio.run(_run, self._check, opener, clock=None if clock is None else clock())
            except Exception as error:
                raise first_error(error) from error


_OPTIONAL: Mapping[str, type[Any]] = {
    "keeper": KeepsSchedules,
    "limited": KeepsLimits,
    "pausing": KeepsPauses,
    "resubmitter": KeepsSubmissions,
    "serving": KeepsServices,
}
"""What some checks need, by the name of their parameter."""


async def _run(check: Callable[..., Awaitable[object]], open_store: Opener) -> None:
    """Run a check with the stores that its parameters ask for; see `checks`."""
    names = [*inspect.signature(check).parameters]
    if names[0] in {"open_store", "open_durable"}:
        async with open_store() as store:
            wanted = store.durable or names[0] == "open_store"
        if wanted:
            await check(open_store)
        return
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store()) for _ in names]
        if (kind := _OPTIONAL.get(names[0])) is not None and not isinstance(stores[0], kind):
            return
        if len(stores) == 1 or stores[0].durable:
            await check(*stores)


def _checks(concerns: Sequence[ModuleType]) -> list[Check]:
    return [
        Check(f"{concern.__name__.rpartition('.')[2]}.{name}", " ".join((check.__doc__ or "").split()), check)
        for concern in concerns
        for name, check in vars(concern).items()
        if inspect.iscoroutinefunction(check)
        and check.__module__ == concern.__name__
        and not name.startswith("_")
    ]


def store_checks(*, thorough: bool = False) -> list[Check]:
    """Return the checks that every store is to pass.

    The last ones let two verbs meet at one job, with one of them held up, or cancelled, at each of its
    checkpoints.

    Args:
        thorough: Whether each verb meets each other one there, which takes four times as long, and not only
            those after which most is different.
    """
    return [*_checks(CONCERNS), *(_race(where, thorough=thorough) for where in SCENES)]


def _race(where: str, *, thorough: bool) -> Check:
    return Check(
        f"racing.{where.replace(' ', '_')}",
        f"{where.capitalize()}: of two verbs at once it is as if one had come first, and the other one after "
        "it; one that is cancelled happens, or does not.",
        partial(race, scene=SCENES[where], thorough=thorough),
    )


def narrow_store_checks() -> list[Check]:
    """Return the checks of limits: `QUEUE_LIMIT` jobs may wait in the store, and it keeps `RETENTION`."""
    return _checks(NARROW)


def check_store(
    open_store: OpenStore,
    *,
    open_narrow: OpenStore | None = None,
    clock: MakeClock | None = None,
    thorough: bool = False,
) -> None:
    """Check that a store does what the contract says.

    Each check has a Trio run of its own, on an empty folder. In real time they take some seconds together,
    as they wait for leases of a twentieth of a second to lapse. None depends on being fast.

    Args:
        open_store: How to open the store.
        open_narrow: How to open one in which `QUEUE_LIMIT` jobs may wait and that keeps `RETENTION`. Without
            it, limits are not checked.
        clock: Makes the clock of each run. By default it is real time. A store in memory passes faster with
            `lambda: trio.testing.MockClock(autojump_threshold=0)`.
        thorough: See `store_checks`.

    Raises:
        StoreCheckFailed: It does something else; the text has every claim that does not hold, and why.
    """
    failures: dict[Check, Exception] = {}
    runs = [(open_store, store_checks(thorough=thorough))]
    if open_narrow is not None:
        runs.append((open_narrow, narrow_store_checks()))
    for opener, checks in runs:
        for check in checks:
            try:
                check.run(opener, clock=clock)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is that check's failure
                failures[check] = error
    if failures:
        raise StoreCheckFailed(failures)
