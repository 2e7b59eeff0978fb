"""The pytest plugin: a fixture `jobs`, a registry in memory on a virtual clock.

It is found by itself when trio_jobs is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

try:
    from pytest_trio import trio_fixture  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
except ImportError:  # pytest then says of the fixture that no plugin handles it
    trio_fixture = pytest.fixture

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from .._registry.registry import JobRegistry


@trio_fixture  # type: ignore[untyped-decorator]  # pytest-trio is published without types
async def jobs() -> AsyncGenerator[JobRegistry]:
    """A registry in memory, on a clock that jumps to the next deadline when everything waits."""
    from .._registry.opening import open_registry

    async with open_registry() as registry:
        yield registry


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each test that uses the fixture the virtual clock, unless it brings a clock of its own."""
    known: dict[str, Any] = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    if any(fixture.func.__module__ == __name__ for fixture in known.get("jobs", ())[-1:]):
        item.add_marker(pytest.mark.trio(run=_run_in_virtual_time))


def _run_in_virtual_time(test: Callable[..., Any], *, clock: Any, **options: Any) -> Any:
    import trio
    from trio.testing import MockClock

    return trio.run(test, clock=clock or MockClock(autojump_threshold=0), **options)
