"""`trio-jobs top`: what runs and waits, live: with keys on a terminal, as lines in a pipe."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import ROOT, WAIT

pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, cli: Any, *arguments: str, lines: int) -> None:
        self.keyboard, inner = pty.openpty()
        termios.tcsetwinsize(inner, (lines, 140))
        self.before = termios.tcgetattr(inner)
        # These would be taken for the size of the terminal.
        outside = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "trio_jobs", "top", *arguments],
            env={**outside, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TERM": "xterm-256color"},
            cwd=cli.folder,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)
        cli.processes.append(self.process)
        self._data = b""
        self._place = 0  # in what is drawn: `until` goes on there

    def until(self, pattern: str) -> str:
        """Read what is drawn until it has a text; return what came since the last call."""
        ends = time.monotonic() + WAIT
        while not (found := re.compile(pattern, re.DOTALL).search(text := self._text(), self._place)):
            assert time.monotonic() < ends, text[self._place :]
            assert self._read(), text[self._place :]  # else all who had the terminal are gone
        begun, self._place = self._place, found.end()
        return text[begun : self._place]

    def _text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._data.decode(errors="replace"))

    def _read(self) -> bool:
        if select.select([self.keyboard], [], [], 1.0)[0]:
            try:
                self._data += os.read(self.keyboard, 65536)
            except OSError:
                return False
        return True

    def press(self, keys: str) -> None:
        os.write(self.keyboard, keys.encode())

    def end(self) -> int:
        """Read the rest, and return the exit status."""
        ends = time.monotonic() + WAIT
        while time.monotonic() < ends and self._read():
            pass
        return self.process.wait(WAIT)


@pytest.fixture
def terminals(cli: Any) -> Iterator[Any]:
    """Opens terminals, and closes them."""
    opened: list[Terminal] = []

    def start(*arguments: str, lines: int = 30) -> Terminal:
        opened.append(Terminal(cli, *arguments, lines=lines))
        return opened[-1]

    yield start
    for one in opened:
        one.process.kill()
        os.close(one.keyboard)


@pytest.mark.deep
def test_keys_cancel_retry_and_pause(cli: Any, terminals: Any) -> None:
    """A job of a server is drawn with its last words; keys cancel it, retry another, and pause a handler."""
    _, url = cli.start_server()
    failed = cli.submit("fail", "no such file")
    cli("stream", failed)
    running = cli.start_job("endless")
    screen = terminals("--url", url, "--interval", "0.1")
    screen.until(rf"{running[:8]} +running +endless.*begun")
    screen.until(rf"{failed[:8]} +failed +fail.*no such file")
    screen.press("p")
    screen.until("paused: endless")
    screen.press("p")
    screen.until("endless resumed")
    screen.press("c")
    screen.until(rf"cancel {running[:8]} \(endless\)\?")
    screen.press("n")
    screen.until("goes on")
    screen.press("cy")
    screen.until("cancelled 1")
    screen.press("r")
    (again,) = re.findall(r"submitted again as (\w{32})", screen.until(r"submitted again as \w{32}"))
    assert cli("stream", again)[:2] == (1, "no such file\n")
    screen.press("q")
    assert screen.end() == 0
    assert json.loads(cli("show", running, "--json")[1])["state"] == "cancelled"
    assert cli("statistics")[2] == ""


def test_a_terminal_is_left_as_it_was(cli: Any, terminals: Any) -> None:
    """Ctrl-C ends it with its status, and keys are echoed again as before; so on a file.

    On a small terminal the keys that choose a job bring it into view, and what is told stays there.
    """
    ids = [cli.submit("add", "1", "2")[:8] for _ in range(4)]
    screen = terminals("--interval", "0.1", lines=10)
    assert not {ids[2], ids[3]} & {*screen.until("q: quit").split()}
    assert not termios.tcgetattr(screen.keyboard)[3] & termios.ECHO
    screen.press("\x1b[A\x1b[B\x1b[B\x1b[Bx")
    screen.until(rf"{ids[2]} +queued +add.*{ids[3]} +queued +add.*q: quit")
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 130
    assert termios.tcgetattr(screen.keyboard) == screen.before


@pytest.mark.deep
def test_in_a_pipe_it_writes_lines(cli: Any) -> None:
    """Each look is a line with the counts, and one for each job that runs; no control codes are written."""
    cli.start_worker()
    job = cli.start_job("endless")
    process = cli.start("top", "--interval", "0.1")
    seen = ""
    while not re.search(rf"\n  {job[:8]}  running  endless  1  \S+  -  -  \S+  begun\n", seen):
        line = process.stdout.readline()
        assert line, seen + process.stderr.read()
        seen += line
    assert re.search(r"\d\d:\d\d:\d\d queued 0  running 1  retrying 0 .* in 0.0/s  out 0.0/s", seen)
    assert "\x1b" not in seen
    assert cli("cancel", job)[0] == 0


def test_json_has_rates_and_ages(cli: Any) -> None:
    """With `--json` a look is one line, and `--count` says how many there are; a waiting job has an age."""
    cli.submit("add", "1", "2")
    status, out, _ = cli("top", "--json", "--count", "2", "--interval", "0.1")
    first, second = map(json.loads, out.splitlines())
    assert status == 0
    assert first["ended_per_second"] is None
    assert second["ended_per_second"] == 0.0
    assert first["states"]["queued"] == 1
    assert second["oldest"] > first["oldest"] >= 0
    assert second["at"] > first["at"]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--count", "0"], "--count takes a number from 1"),
        (["--limit", "0"], "--limit takes a number from 1"),
        (["--interval", "0"], "--interval takes 0.1 seconds or more"),
    ],
)
def test_options_are_checked(cli: Any, option: list[str], told: str) -> None:
    """A number out of range is one line, and nothing is opened."""
    status, _, err = cli("top", *option)
    assert status == 2
    assert told in err


def test_there_must_be_jobs(cli: Any) -> None:
    """Where no jobs are kept, it says so, and makes no file."""
    status, _, err = cli("top", "--count", "1")
    assert status == 1
    assert "there is no file" in err
    assert not (cli.folder / "jobs.db").exists()
