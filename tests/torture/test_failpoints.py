"""The failpoint matrix, in part; and planted faults are found. `nox -s torture` plays all of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from trio_jobs.stores import Claimant
from trio_jobs.stores.sqlite import looking, schedules, verbs

HERE = Path(__file__).parent
VERBS = (
    *("submit", "claim", "heartbeat", "append", "finish"),
    *("spawn", "request_cancel", "sweep", "remove", "prune"),
    *("send", "end_inputs", "inputs", "listening", "consume", "step", "wait"),
    *("replace", "hand_on", "fire", "take_place"),
)
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="uses Linux's clock")


@pytest.fixture(scope="module")
def failpoints() -> Iterator[Any]:
    """Import the failpoints as their command does."""
    sys.path.insert(0, str(HERE))
    try:
        import failpoints

        yield failpoints
    finally:
        sys.path.remove(str(HERE))


@pytest.mark.parametrize("verb", VERBS)
def test_a_lost_answer_changes_nothing(failpoints: Any, tmp_path: Path, verb: str) -> None:
    """A committed verb whose answer was an error has its effect once."""
    assert failpoints.play(failpoints.Case(verb, "commit/after", "io"), tmp_path)


def test_the_matrix_has_these_verbs(failpoints: Any) -> None:
    """The lost answers above are those of every verb of the matrix."""
    assert (*failpoints.VERBS, *failpoints.TURNS) == VERBS


def test_tokens_that_are_appended_twice_are_found(
    failpoints: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that does not skip repeated tokens of an append is found by a lost answer."""
    real = verbs.append

    def append(
        tx: Any, job_id: str, attempt: int, kind: Any, values: Sequence[bytes], *, offset: int, **more: Any
    ) -> int:
        there = looking.running(tx, job_id, attempt, more["claim"]).appended
        return real(tx, job_id, attempt, kind, values, offset=max(offset, there), **more)

    monkeypatch.setattr(verbs, "append", append)
    with pytest.raises(AssertionError, match="tokens_are_the_handlers"):
        failpoints.play(failpoints.Case("append", "commit/after", "io"), tmp_path)


def test_a_tick_that_may_fire_again_is_found(
    failpoints: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that submits the job of a tick, and does not note that the tick fired, is found."""

    def fire(tx: Any, seen: Any, tick: float, job: Any, handlers: Any) -> bool:
        verbs.submit(tx, [job], 0, handlers, Claimant(""))
        return True

    monkeypatch.setattr(schedules, "_fire", fire)
    with pytest.raises(AssertionError, match="each_tick_fires_once"):
        failpoints.play(failpoints.Case("fire", "commit/after", "io"), tmp_path)
