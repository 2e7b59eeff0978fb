"""Run tests in a fork of this process, which has loaded what they need, on a file with a mistake in it.

This process never imports the mutated module: each fork does, and gets the mutant from its own finder. A fork
that hangs is ended by a limit of processor time, or after a while without using any.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import math
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import Phase, settings

_IDLE: Final = 3.0  # seconds in which a fork that is not stuck uses at least a hundredth of one
_BROKEN: Final = 70
_STUCK: Final = 71
_MEMORY: Final = 4 << 30
_OPTIONS: Final = (
    "-q", "-x", "-p", "no:cacheprovider", "-p", "no:trio_jobs", "--hypothesis-profile=mutation",
    "--assert=plain",  # else pytest finds the package before we do, to rewrite it
)  # fmt: skip

# What is found once need not be made small. Else as the profile of `conftest.py`: the same each time.
settings.register_profile(
    "mutation", deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)


class Verdict(NamedTuple):
    """The result of a run: what killed the mutant, None if everything passed."""

    killed: str | None
    seconds: float
    slowest_last: list[str]
    modules: list[str]
    output: str


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, as compiled from a mutant."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self.name, self._path, self._code = name, path, code
        self.used = False

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        """Return the spec of the mutant."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self._path))

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Let Python make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutant's code in the module."""
        self.used = True
        exec(self._code, module.__dict__)  # noqa: S102  # a module is code that is run


class Watch:
    """Orders the tests of a run, and records failures and the time of each test."""

    def __init__(self, order: Sequence[str]) -> None:
        self._order = {test: place for place, test in enumerate(order)}
        self.seconds: dict[str, float] = {}
        self.failed: str | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort the tests that are to be first to the front."""
        items.sort(key=lambda item: self._order.get(item.nodeid, math.inf))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the result of a test."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def start(tests: Sequence[str], order: Sequence[str], mutant: Finder | None, limit: float) -> Fork:
    """Start the tests in a fork, those in `order` first, with so many seconds of processor time."""
    folder = tempfile.TemporaryDirectory()
    fork = Fork(os.fork(), folder)
    if not fork.pid:
        code = _BROKEN
        try:
            code = _run(Path(folder.name), tests, order, mutant, limit)
        except BaseException:  # noqa: BLE001  # nothing of this process may go on in the fork
            traceback.print_exc()
        finally:
            os._exit(code)
    return fork


def _run(
    folder: Path, tests: Sequence[str], order: Sequence[str], mutant: Finder | None, limit: float
) -> int:
    output = os.open(folder / "output", os.O_CREAT | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    seconds = math.ceil(limit)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    if mutant is not None:
        assert mutant.name not in sys.modules
        _end_if_idle()
        sys.meta_path.insert(0, mutant)
    watch = Watch(order)
    code = int(pytest.main([*_OPTIONS, f"--basetemp={folder / 'tmp'}", *tests], plugins=[watch]))
    quickest_first = sorted(watch.seconds, key=watch.seconds.__getitem__)
    modules = [name for name, module in sys.modules.items() if _is_foreign(module)]
    written = folder / "written"
    written.write_text(json.dumps([watch.failed, quickest_first, modules]))
    written.rename(folder / "report")  # whole, though the run may be ended at any time
    assert mutant is None or mutant.used or code, "the tests import it from elsewhere, or not at all"
    return code


def _end_if_idle() -> None:
    used = time.process_time()

    def look(_: int, frame: FrameType | None) -> None:
        nonlocal used
        before, used = used, time.process_time()
        if used - before < 0.01:
            os._exit(_STUCK)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _IDLE, _IDLE)


def _is_foreign(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and ("site-packages" in file or not file.startswith(str(Path.cwd())))


def load(modules: Sequence[str]) -> None:
    """Import what the tests have imported from elsewhere, so that no fork has to."""
    for name in modules:
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001, S112  # some can only be imported in their own way
                continue


class Fork(NamedTuple):
    """A run under way."""

    pid: int
    folder: tempfile.TemporaryDirectory[str]

    def ended(self, status: int, used: resource.struct_rusage) -> Verdict:
        """Return the result of the run."""
        code = os.waitstatus_to_exitcode(status)
        with self.folder as name:
            folder = Path(name)
            output = (folder / "output").read_text(encoding="utf-8", errors="replace")
            report = folder / "report"
            failed, slowest_last, modules = (
                json.loads(report.read_text()) if report.exists() else (None, [], [])
            )
        if code == _BROKEN:
            raise RuntimeError(output)
        killed = None
        if code:
            killed = failed or _ENDS.get(code) or f"an end with {code}"
        return Verdict(killed, used.ru_utime + used.ru_stime, slowest_last, modules, output)


_ENDS: Final = {
    -signal.SIGXCPU: "the limit of processor time",
    -signal.SIGKILL: "the limit of processor time",
    _STUCK: "a wait without an end",
    2: "an import that fails",
    5: "a run without tests",
}
