"""Servers for tests: PostgreSQL of the system's packages, and PgBouncer.

All run as an ordinary user, on ports and in folders of their own, and end with the process that started them.
One server is shared by the processes of a test run; `python tests/postgres.py FOLDER` keeps it until all of
them have gone, however they went.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import psycopg

_PATIENCE: Final = 30.0
_UNSAFE: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "min_wal_size": "64MB",
    "max_wal_size": "256MB",
    "logging_collector": "off",
    "lc_messages": "C",
    "dynamic_shared_memory_type": "mmap",
}
Mode: TypeAlias = Literal["fast", "immediate"]


def missing() -> str | None:
    """Return what is missing for a server, or None."""
    if sys.platform != "linux":
        return "these tests run PostgreSQL on Linux only"
    return None if _programs() else "PostgreSQL is not installed (Debian's package `postgresql`)"


def _programs() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    there = shutil.which("initdb")
    return Path(there).resolve().parent if there else None


def _ordinary_user() -> dict[str, Any]:
    """Return the arguments with which a process is started as an ordinary user."""
    if os.geteuid() != 0:
        return {}
    for name in "postgres", "nobody":
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("there is no ordinary user to run a server as")


def _end_with_its_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT, 0, 0, 0)  # PR_SET_PDEATHSIG


def spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a server, which ends with the thread that calls this."""
    with log.open("ab") as output:
        process: Any = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            preexec_fn=_end_with_its_parent,  # noqa: PLW1509  # it calls the system only
            start_new_session=True,
            **_ordinary_user(),
        )
        return cast("subprocess.Popen[bytes]", process)


def new_folder(prefix: str) -> Path:
    """Return a new folder that belongs to the ordinary user. Its path is short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    user = _ordinary_user()
    if user:
        os.chown(folder, user["user"], user["group"])
    return folder


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """A PostgreSQL server. Its superuser `postgres` needs no password.

    Args:
        durable: Whether what is committed survives a crash of the machine, which costs time.
        settings: Further settings.
        tls: Its certificate and the key to it, if it is to speak TLS too.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
        tls: tuple[bytes, bytes] | None = None,
    ) -> None:
        programs = _programs()
        if programs is None:
            raise RuntimeError(missing())
        self._programs = programs
        self.folder = new_folder("trio-jobs-pg-")
        self.data = self.folder / "data"
        self.port = free_port()
        self.settings = {**_SETTINGS, **({} if durable else _UNSAFE), **(settings or {})}
        self._tls = tls
        if tls is not None:
            self.settings["ssl"] = "on"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", *, port: int | None = None, host: str = "127.0.0.1") -> str:
        """Return the URL of a database, perhaps by way of another port."""
        return f"postgresql://postgres@{host}:{port or self.port}/{database}"

    @property
    def pid(self) -> int:
        """The process of the server."""
        assert self._process is not None
        return self._process.pid

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, cwd=self.folder, check=False, **_ordinary_user())
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.decode()}")

    def create(self) -> None:
        """Make its files."""
        self._run(
            "initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-locale",
            "--no-sync", "--no-instructions",
        )  # fmt: skip
        for name, content in zip(("server.crt", "server.key"), self._tls or (), strict=False):
            file = self.data / name
            file.write_bytes(content)
            file.chmod(0o600)
            os.chown(file, self.data.stat().st_uid, self.data.stat().st_gid)

    def spawn(self) -> None:
        """Start it, and do not wait until it is ready. It ends with the thread that calls this."""
        given = {**self.settings, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self.data), *options]
        self._process = spawn(command, self.folder / "log")

    def answers(self) -> bool:
        """Return whether it can be connected to."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.url(), connect_timeout=5):
            return True
        return False

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            RuntimeError: It does not.
        """
        assert self._process is not None
        until = time.monotonic() + _PATIENCE
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)  # noqa: TID251  # it is awaited in a thread, or by a fixture

    def start(self) -> None:
        """Start it, for the first time or again, and wait until it answers."""
        if not self.data.exists():
            self.create()
        self.spawn()
        self.wait()

    def signal(self, number: signal.Signals) -> list[int]:
        """Send a signal to the server and to all its processes, and return these."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)  # else it could begin others meanwhile
        processes = [*_children(self._process.pid), self._process.pid]
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number is not signal.SIGSTOP:
            self._process.send_signal(signal.SIGCONT)
        return processes

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it, if it runs: in order, or as if the machine had crashed."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
            self._process.wait(_PATIENCE)

    def kill(self) -> None:
        """Kill all its processes, with no time to say anything."""
        assert self._process is not None
        processes = self.signal(signal.SIGKILL)
        self._process.wait(_PATIENCE)
        until = time.monotonic() + _PATIENCE
        while any(map(_lives, processes)):  # it does not start again as long as one of them is there
            assert time.monotonic() < until, "a process cannot be killed"
            time.sleep(0.001)  # noqa: TID251  # they are on their way

    def restart(self, mode: Mode = "fast") -> None:
        """Stop it and start it again."""
        self.stop(mode)
        self.start()

    def query(self, query: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement by itself, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as db:
            done = db.execute(query.encode(), values or None)
            return done.fetchall() if done.description else []

    def standby(self) -> Server:
        """Return a second server, which follows this one and has not been started."""
        other = Server(settings=self.settings)
        self._run(
            "pg_basebackup", "-D", str(other.data), "-d", self.url(), "-R", "-X", "stream", "-c", "fast"
        )
        return other

    def promote(self) -> None:
        """Turn a standby into a server that is written to."""
        self.query("SELECT pg_promote()")

    def remove(self) -> None:
        """Stop it, and remove its files."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _lives(pid: int) -> bool:
    """Return whether a process has not ended, whether or not somebody has asked how it did."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


class PgBouncer:
    """A pooler in transaction mode in front of a server, with few connections to it.

    Args:
        server: Of which it keeps connections.
        size: How many, to each database.
    """

    def __init__(self, server: Server, size: int = 4) -> None:
        self._program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        self._server = server
        self.folder = new_folder("trio-jobs-pool-")
        self.port = free_port()
        self._size = size
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """Return the URL of a database by way of the pooler."""
        return f"{self._server.url(database, port=self.port)}?pooler=transaction"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        if self._program is None:
            raise RuntimeError("PgBouncer is not installed (Debian's package `pgbouncer`)")
        (self.folder / "users").write_text('"postgres" ""\n')
        lines = (
            "[databases]",
            f"* = host=127.0.0.1 port={self._server.port} user=postgres",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = trust",
            f"auth_file = {self.folder / 'users'}",
            "pool_mode = transaction",
            f"default_pool_size = {self._size}",
            "max_client_conn = 200",
            "ignore_startup_parameters = extra_float_digits",
        )
        (self.folder / "pool.ini").write_text("\n".join(lines))
        self._process = spawn([self._program, str(self.folder / "pool.ini")], self.folder / "log")
        until = time.monotonic() + _PATIENCE
        while True:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self._server.url(port=self.port), connect_timeout=5).close()
                return
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PgBouncer does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)  # noqa: TID251  # a fixture waits

    def stop(self) -> None:
        """Stop it, with all connections by way of it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def remove(self) -> None:
        """Stop it, and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


# ------------------------------------------------------------ one server for all processes of a run


@contextmanager
def shared(folder: Path) -> Iterator[Server]:
    """Use the server of a test run, which the first process to come here starts.

    Args:
        folder: A folder that the processes of the run have in common.
    """
    note = folder / "postgres.json"
    with (folder / "postgres.users").open("a") as users:
        with (folder / "postgres.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)  # as long as somebody has it, the server stays
            if not note.exists():
                _start_keeper(folder)
        given = json.loads(note.read_text())
        server = Server.__new__(Server)
        server.port, server.folder = given["port"], Path(given["folder"])
        yield server


def _start_keeper(folder: Path) -> None:
    with (folder / "postgres.keeper").open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )
    assert keeper.stdout is not None
    with keeper.stdout as stdout:
        said = stdout.readline()
    if said != b"ready\n":
        raise RuntimeError(f"there is no server: {(folder / 'postgres.keeper').read_text()[-3000:]}")
    keeper.returncode = 0  # nobody waits for it: it ends after this process


def _keep(folder: Path) -> None:
    """Run a server until no process uses it."""
    server = Server()
    note = folder / "postgres.json"
    try:
        server.start()
        note.write_text(json.dumps({"port": server.port, "folder": str(server.folder)}))
        print("ready", flush=True)
        with (folder / "postgres.users").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            note.unlink(missing_ok=True)
    finally:
        server.remove()


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
