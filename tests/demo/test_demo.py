"""`trio-jobs demo` as people run it: in a process with a pipe, a terminal, a Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest

import trio_jobs
from trio_jobs.cli import main

ROOT = Path(trio_jobs.__file__).parents[1]
TEXT = "the cat sat on the mat and the dog sat on the cat " * 5
WAIT = 60.0  # seconds before a hung process fails its test; no test passes because of it
COMMAND = [sys.executable, "-W", "error", "-m", "trio_jobs"]

posix = pytest.mark.skipif(os.name != "posix", reason="uses POSIX terminals and signals")
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def environment(**changes: str) -> dict[str, str]:
    """Return an environment in which the package is found, without other settings."""
    keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    return {**keep, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TERM": "xterm-256color", **changes}


def run(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command with its output in pipes."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=env or environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=WAIT,
        check=False,
    )


def begin(seconds: int, text: str) -> subprocess.Popen[str]:
    """Start the demo with its output in pipes."""
    return subprocess.Popen(
        [*COMMAND, "demo", "--seconds", str(seconds), text],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(autouse=True)
def _own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a file of its own for its jobs."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


# ------------------------------------------------------------ in a pipe


def test_in_a_pipe_it_writes_plain_lines(text: str) -> None:
    """Every job ends as intended and is in the summary; no line is too long, none has control codes.

    The lines have the tokens of the jobs, and each change of state.
    """
    done = run("demo", "--seconds", "0.5", text)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) < 80
    assert not re.search(r"[^\n -~]", done.stdout)
    head = next(number for number, line in enumerate(lines) if line.startswith("job "))
    ends = [re.split(r"\s{2,}", line) for line in lines[head + 1 :]]
    assert [(end[-4], end[-3]) for end in ends[:-1]] == [
        ("completed", "1"),
        ("completed", "1"),
        ("completed", "2"),
        ("failed (idle_timeout)", "1"),
        ("cancelled (user)", "1"),
    ]
    assert ends[-1][:3] == ["5 jobs", "all as intended", "6"]
    assert int(ends[-1][3]) == sum(int(end[-2]) for end in ends[:-1])
    for part in (
        *("> part 1, part 2", "retrying: ConnectionError: the line broke", "running: attempt 2"),
        *("failed: Job sent nothing for 0.125s", "asked to stop: the demo changed its mind"),
        *("> the 20, ", "heartbeat        cancelled"),
    ):
        assert part in done.stdout


@pytest.mark.deep
def test_without_files_it_has_its_own() -> None:
    """The demo needs no argument."""
    done = run("demo", "--seconds", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    assert "all as intended" in done.stdout


@pytest.mark.deep
def test_colour_cannot_be_forced_into_a_pipe(text: str) -> None:
    """A pipe gets no control codes, not even with FORCE_COLOR."""
    done = run("demo", "--seconds", "0.5", text, env=environment(FORCE_COLOR="1"))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


@pytest.mark.deep
def test_names_are_made_harmless(tmp_path: Path) -> None:
    """A file's name with control codes, or that the locale cannot decode, is escaped."""
    path = tmp_path / "\x1b[7m[r]ü.txt"
    try:
        path.write_text("ein schöner Tag", encoding="utf-8")
    except OSError:
        pytest.skip("no such names here")
    env = environment(PYTHONUTF8="0", PYTHONIOENCODING="ascii", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    done = run("demo", "--seconds", "0.5", str(path), env=env)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert re.search(r"\?\[7m\[r\]\?+\.txt ", done.stdout)


@posix
@pytest.mark.deep
def test_a_reader_that_leaves_is_no_crash(text: str) -> None:
    """When the pipe's other end is closed, as by `head`, the demo stops without output."""
    with begin(2, text) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(WAIT) == 1
        assert process.stderr.read() == ""


# ------------------------------------------------------------ in a browser


@posix
def test_its_page_is_served_while_it_runs(text: str) -> None:
    """The first line has the page's address, also if the usual port is taken; the page has the jobs."""
    stack = contextlib.ExitStack()
    with contextlib.suppress(OSError):  # taken already: so much the better
        stack.enter_context(socket.create_server(("127.0.0.1", 8000)))
    with stack, begin(3600, text) as process:
        assert process.stdout is not None
        told = re.fullmatch(
            r"Watch it in a browser, too: (http://127\.0\.0\.1:\d+)/\n", process.stdout.readline()
        )
        assert told is not None
        process.stdout.readline()  # a job runs
        assert "<html" in httpx2.get(f"{told[1]}/").text
        found = httpx2.get(f"{told[1]}/v1/jobs").json()["jobs"]
        assert {job["tags"]["of"] for job in found} == {"the demo"}
        process.terminate()
        assert process.wait(WAIT) == 143
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{told[1]}/")


@pytest.mark.deep
def test_the_page_can_be_left_out(text: str) -> None:
    """With --no-page no page is served or mentioned."""
    done = run("demo", "--seconds", "0.5", "--no-page", text)
    assert (done.returncode, done.stderr) == (0, "")
    assert "browser" not in done.stdout


@pytest.mark.deep
def test_without_the_extra_it_goes_on_without_a_page(text: str, tmp_path: Path) -> None:
    """If packages for serving are missing, one line names their extra, and the jobs run."""
    (tmp_path / "starlette.py").write_text("raise ImportError('not here')", encoding="utf-8")
    done = run("demo", "--seconds", "0.5", text, env=environment(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith("pip install 'trio-jobs[serve]'")
    assert "all as intended" in done.stdout


# ------------------------------------------------------------ what is typed wrong


def test_a_bad_file_stops_it_before_any_job(text: str, tmp_path: Path) -> None:
    """One line on standard error names the file, no job ran, and the status is 2."""
    missing = tmp_path / "missing.txt"
    done = run("demo", text, str(missing))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"trio-jobs demo: {missing}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9", "soon"])
def test_bad_seconds_are_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A length that is no reasonable number is refused by name."""
    assert main(["demo", f"--seconds={seconds}"]) == 2
    assert "--seconds" in capsys.readouterr().err


def test_without_a_command_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command or with --help the commands are listed; the demo's help has options and statuses."""
    assert main([]) == 0
    alone = capsys.readouterr().out
    for arguments in (["--help"], ["demo", "--help"]):
        assert main(arguments) == 0
    told = capsys.readouterr().out
    assert told.startswith(alone)
    assert "demo" in alone
    for part in ("FILE", "--seconds", "130"):
        assert part in told


# ------------------------------------------------------------ on a terminal


# Makes its standard input the controlling terminal, so that Ctrl-C typed there is a signal.
LOGIN = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A process on a pseudo terminal of 80 columns."""

    def __init__(self, *arguments: str, **env: str) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.here, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOGIN, *COMMAND, *arguments],
            env=environment(**env),
            stdin=there,
        )
        os.close(there)
        self._watchdog = threading.Timer(WAIT, self.process.kill)
        self._watchdog.start()

    def read_until(self, pattern: str) -> None:
        """Read the output until that matches."""
        while not re.search(pattern, self.output):
            assert self._read(), f"it ended without {pattern!r}:\n{self.output}"

    def end(self) -> int:
        """Read the rest, and return its exit status."""
        while self._read():
            pass
        self._watchdog.cancel()
        os.close(self.here)
        return self.process.wait(WAIT)

    def _read(self) -> bool:
        try:
            data = os.read(self.here, 65536)
        except OSError:  # Linux says so when the other end is closed
            return False
        self.output += data.decode()
        return bool(data)


@posix
@pytest.mark.deep
def test_on_a_terminal_it_shows_a_live_view(text: str) -> None:
    """A table with colours is drawn and removed, the summary stays, the cursor is restored."""
    pytest.importorskip("rich")
    terminal = Terminal("demo", "--seconds", "0.5", text)
    assert terminal.end() == 0, terminal.output
    for part in ("last tokens", "Ctrl-C stops", "\x1b[36mrunning", "━", "all as intended"):
        assert part in terminal.output
    live, _, summary = terminal.output.rpartition("\x1b[?25h")
    assert "\x1b[?25l" in live
    assert "all as intended" in summary
    assert "heartbeat        cancelled (user)" in summary


@posix
@pytest.mark.deep
def test_a_terminal_without_colour_or_unicode_gets_neither(text: str) -> None:
    """NO_COLOR is obeyed, and where only ASCII can be shown, only ASCII is."""
    pytest.importorskip("rich")
    terminal = Terminal("demo", "--seconds", "0.5", text, NO_COLOR="1", PYTHONIOENCODING="ascii")
    assert terminal.end() == 0, terminal.output
    assert "last tokens" in terminal.output
    assert "\x1b[36m" not in terminal.output
    assert terminal.output.isascii()
    assert "?" not in terminal.output.replace("\x1b[?", "")


@posix
@pytest.mark.deep
def test_a_terminal_that_cannot_show_it_gets_lines(text: str) -> None:
    """On a dumb terminal there are plain lines."""
    terminal = Terminal("demo", "--seconds", "0.5", text, TERM="dumb")
    assert terminal.end() == 0, terminal.output
    assert "\x1b" not in terminal.output
    assert "all as intended" in terminal.output


# ------------------------------------------------------------ interrupted


def children(parent: int) -> dict[int, str]:
    """Return the processes below another one, each with the time it started, which no other shares."""
    found: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, fields = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == parent:
            found[pid] = fields[19]
    return found


def alive(pid: int, started: str) -> bool:
    """Say whether a process still runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[19] == started and fields[0] != "Z"


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_leaves_nothing(text: str, number: signal.Signals) -> None:
    """In a pipe: the status has the signal, no error is printed, and its child processes have ended."""
    with begin(3600, text) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(6):  # where the page is, and every job has started
            process.stdout.readline()
        while len(started := children(process.pid)) < 2:
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(WAIT) == 128 + number
        assert not [pid for pid, since in started.items() if alive(pid, since)]
        assert process.stderr.read() == ""
        assert process.stdout.read().endswith(
            "Stopped: nothing is left running. The same command goes on from here.\n"
        )


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.deep
def test_a_signal_on_a_terminal_restores_it(text: str, number: signal.Signals) -> None:
    """In the live view, by Ctrl-C or not: the cursor is restored, no child is left, no traceback is shown."""
    pytest.importorskip("rich")
    terminal = Terminal("demo", "--seconds", "3600", text)
    terminal.read_until("beat 1")
    terminal.read_until("the 20")
    started = children(terminal.process.pid)
    assert len(started) == 2
    if number == signal.SIGINT:
        os.write(terminal.here, b"\x03")
    else:
        terminal.process.send_signal(number)
    assert terminal.end() == 128 + number, terminal.output
    assert not [pid for pid, since in started.items() if alive(pid, since)]
    assert "Stopped" in terminal.output.rpartition("\x1b[?25h")[2]
    assert "Traceback" not in terminal.output


@posix
@pytest.mark.deep
def test_it_survives_being_killed(text: str) -> None:
    """Killed and started again, it continues the same jobs, and all end as intended."""
    with subprocess.Popen(
        [*COMMAND, "demo", "--seconds", "2", text],
        env=environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "> part 1" in line:  # the job that breaks half-way is in its second attempt soon
                break
        process.kill()
    again = run("demo", "--seconds", "2", text)
    assert again.stdout.startswith("Going on with the jobs of a run that was stopped.\n")
    assert "retrying: Its worker was lost" in again.stdout
    assert (again.returncode, again.stderr) == (0, "")
    assert "all as intended" in again.stdout
    assert "Going on" not in run("demo", "--seconds", "0.5", text).stdout
