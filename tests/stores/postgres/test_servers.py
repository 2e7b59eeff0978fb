"""The servers that tests use do what the tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import trio

from tests.postgres import PgBouncer, Server

KEPT = """
import pathlib, sys, time
sys.path.insert(0, {root!r})
from tests.postgres import shared
with shared(pathlib.Path({folder!r})) as server:
    print(server.folder, flush=True)
    time.sleep(600)
"""


def test_each_test_has_a_database_of_its_own(postgres_url: str) -> None:
    """A test's database is there, and empty."""
    with psycopg.connect(postgres_url) as db:
        found = db.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'trio_jobs'").fetchone()
    assert found == (0,)


@pytest.mark.deep
def test_the_shared_server_ends_with_its_users(tmp_path: Path, postgres_installed: None) -> None:
    """The server that processes share is gone when the last of them was killed."""
    text = KEPT.format(root=str(Path(__file__).parents[3]), folder=str(tmp_path))
    users = [subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) for _ in range(2)]
    folders = {user.stdout.readline().decode().strip() for user in users if user.stdout}
    assert len(folders) == 1
    folder = Path(folders.pop())
    pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    users[0].kill()
    users[0].communicate()
    os.kill(pid, 0)
    users[1].kill()
    users[1].communicate()

    async def gone() -> None:
        with trio.fail_after(30):
            while folder.exists():
                await trio.sleep(0.01)

    trio.run(gone)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.deep
def test_a_killed_server_comes_back(own_server: Callable[..., Server]) -> None:
    """What was committed is there after a kill, and the server is another one."""
    server = own_server(durable=True)
    server.query("CREATE TABLE one (a int)")
    before = server.pid
    server.kill()
    with pytest.raises(psycopg.OperationalError):
        server.query("SELECT 1")
    server.start()
    assert server.pid != before
    assert server.query("SELECT * FROM one") == []
    server.restart("immediate")
    assert server.query("SHOW fsync") == [("on",)]


@pytest.mark.deep
def test_a_standby_takes_over(own_server: Callable[..., Server]) -> None:
    """A standby has what its server wrote, refuses writes, and does not when it was promoted."""
    server = own_server()
    server.query("CREATE TABLE one (a int)")
    other = server.standby()
    try:
        other.start()
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            other.query("INSERT INTO one VALUES (1)")
        server.kill()
        other.promote()
        other.query("INSERT INTO one VALUES (1)")
        assert other.query("SELECT a FROM one") == [(1,)]
    finally:
        other.remove()


def test_a_pooler_is_real(postgres_server: Server, postgres_url: str) -> None:
    """More clients than connections work by way of the pooler, which keeps no session for them."""
    pooler = PgBouncer(postgres_server, size=1)
    try:
        pooler.start()
        url = pooler.url(postgres_url.rpartition("/")[2]).partition("?")[0]
        with psycopg.connect(url, autocommit=True) as one, psycopg.connect(url, autocommit=True) as two:
            pids = [db.execute("SELECT pg_backend_pid()").fetchone() for db in (one, two, one)]
        assert len(set(pids)) == 1
    finally:
        pooler.remove()


@pytest.mark.deep
def test_a_stopped_server_is_stopped(own_server: Callable[..., Server]) -> None:
    """A server that gets SIGSTOP answers nothing, and goes on with SIGCONT."""
    server = own_server()
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(server.url(), connect_timeout=2)
    finally:
        server.signal(signal.SIGCONT)
    assert server.query("SELECT 1") == [(1,)]
