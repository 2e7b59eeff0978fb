"""The in-process benchmark compares like with like."""

from __future__ import annotations

import asyncio  # noqa: TID251  # one of the versions that are compared
import importlib.util
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import trio

from trio_jobs import open_registry

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "inprocess.py"
Job = Callable[[int], Awaitable[list[int]]]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inprocess", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def in_registry(benchmark: ModuleType, tokens: int) -> list[int]:
    async with open_registry(window=benchmark.BUFFER) as jobs:
        got: list[int] = await benchmark.by_trio_jobs(jobs, tokens)
        return got


@pytest.mark.parametrize("tokens", [0, 1, 10, 100])
def test_every_version_of_the_job_delivers_the_same_tokens(benchmark: ModuleType, tokens: int) -> None:
    """All versions of the job deliver the numbers below `tokens`, in order, also past a full buffer."""
    expected = list(range(tokens))
    versions: list[Job] = [partial(in_registry, benchmark), benchmark.by_hand, benchmark.lean]
    for version in versions:
        assert trio.run(version, tokens) == expected
    assert asyncio.run(benchmark.by_asyncio(tokens)) == expected


@pytest.mark.parametrize(
    ("value", "mark"), [(1.0, "met"), (1.2, "good enough"), (1.3, "good enough"), (1.31, "MISSED")]
)
def test_a_check_is_marked_by_its_target(benchmark: ModuleType, value: float, mark: str) -> None:
    """A ratio meets its target up to the first bound, is good enough up to the second, and else missed."""
    assert benchmark.Check("time", value, value, value, 1.0, 1.3).mark == mark
    assert benchmark.Check("speed", -value, -value, -value, -1.0, -1.3, at_most=False).mark == mark
