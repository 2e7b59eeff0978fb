"""The store of the page on writing one keeps the contract, and `check_store` refuses it with each fault."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.stores.own import FAULTS, Fault, own_store
from trio_jobs import TrioJobsError
from trio_jobs.testing import OpenStore, check_store, store_checks

CHECKS = {check.name: check for check in store_checks()}
SOUND: OpenStore = own_store().open_store


def virtual() -> MockClock:
    return MockClock(autojump_threshold=0)


def in_virtual_time(opener: Any) -> OpenStore:
    return partial(opener, now=trio.current_time)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_is_found(fault: Fault) -> None:
    """Each fault is found by the check for it, in virtual time."""
    with pytest.raises((AssertionError, TrioJobsError)):
        CHECKS[fault.check].run(in_virtual_time(own_store(fault).open_store), clock=virtual)


@pytest.mark.parametrize("name", sorted({fault.check for fault in FAULTS}))
def test_these_checks_pass_without_a_fault(name: str) -> None:
    """Unchanged, the store passes the checks that find the faults."""
    CHECKS[name].run(in_virtual_time(SOUND), clock=virtual)


@pytest.mark.deep
@pytest.mark.parametrize(
    ("opener", "clock"), [(SOUND, None), (in_virtual_time(SOUND), virtual)], ids=["real", "virtual"]
)
def test_it_keeps_the_contract(opener: OpenStore, clock: Callable[[], trio.abc.Clock] | None) -> None:
    """Unchanged, the store passes all checks, with all pairs of verbs."""
    check_store(opener, clock=clock, thorough=True)


REAL = [fault for fault in FAULTS if fault.name != "a time of 0 is taken for none"]  # it is never 0 here


@pytest.mark.deep
@pytest.mark.parametrize("fault", REAL, ids=[fault.name for fault in REAL])
def test_a_fault_is_found_in_real_time(fault: Fault) -> None:
    """The same checks refuse the store with a fault in real time."""
    with pytest.raises((AssertionError, TrioJobsError)):
        CHECKS[fault.check].run(own_store(fault).open_store)


def test_a_failure_says_who_met_whom_where() -> None:
    """A failed pair names both verbs, the checkpoint, the result, and the result of each order."""
    (fault,) = [fault for fault in FAULTS if fault.name.startswith("an end that is cut short: the children")]
    with pytest.raises(AssertionError) as caught:
        CHECKS[fault.check].run(in_virtual_time(own_store(fault).open_store), clock=virtual)
    first, second, third, fourth = str(caught.value).split("\n")
    assert first == (
        "finish (completed) was cancelled at checkpoint 1 and finish of the child happened meanwhile; "
        "what came of it comes of no order of the two:"
    )
    assert second.startswith(
        "      finish (completed), then finish of the child: state of the job is <State.RUNNING"
    )
    assert third.startswith(
        "      finish of the child, then finish (completed): finish of the child is ('LeaseLost'"
    )
    assert fourth.startswith("      finish of the child alone: ")
