"""`DeferredError`: which error a block raises when its tasks have failed too."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trio_jobs import StoreCorrupt, StoreUnavailable
from trio_jobs._common.deferred_error import DeferredError

DAMAGED, GONE, OUCH = StoreCorrupt("damaged"), StoreUnavailable("gone"), ValueError("ouch")


def held(error: BaseException | None) -> DeferredError:
    block = DeferredError()
    with block:
        if error is not None:
            raise error
    return block


def cancelled() -> BaseException:
    async def main() -> BaseException:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                caught = error
                raise
        return caught

    return trio.run(main)


def test_a_block_is_released() -> None:
    """`release` raises the deferred error itself, or nothing if there is none."""
    held(None).release()
    with pytest.raises(ValueError, match="ouch") as caught:
        held(OUCH).release()
    assert caught.value is OUCH


@pytest.mark.parametrize(
    ("own", "other", "raised"),
    [
        (None, ExceptionGroup("", [ExceptionGroup("", [DAMAGED, GONE])]), DAMAGED),
        (DAMAGED, ExceptionGroup("", [GONE]), DAMAGED),
        (None, GONE, GONE),
    ],
)
def test_a_fault_of_the_store_is_one_fault(own: Any, other: BaseException, raised: BaseException) -> None:
    """The store's error is raised once, bare, however many tasks met it; an error of the block precedes
    it."""
    assert held(own).beside(other) is raised


def test_a_block_that_was_cancelled_has_nothing_to_add() -> None:
    """A block that failing tasks cancelled adds no error of its own."""
    both = ExceptionGroup("", [DAMAGED, OUCH])
    assert held(cancelled()).beside(both) is both
    assert held(cancelled()).beside(ExceptionGroup("", [DAMAGED])) is DAMAGED


@pytest.mark.parametrize("other", [DAMAGED, ExceptionGroup("", [DAMAGED, KeyError(1)])])
def test_no_error_hides_another(other: Exception) -> None:
    """An error of the block is raised together with the store's error."""
    error = held(OUCH).beside(other)
    assert isinstance(error, BaseExceptionGroup)
    assert error.exceptions == (OUCH, other)
