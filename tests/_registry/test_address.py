"""Addresses of stores: what each opens, and which are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.stores.sqlite.parts import writer_of
from trio_jobs import InvalidPayload, Kind, QueueFull, Reason, Retention, open_registry
from trio_jobs._model.handlers import Handlers
from trio_jobs._registry.address import sqlite_path, store_opener, without_password
from trio_jobs._running.shortcuts import Shortcuts
from trio_jobs.stores import Claimant, Store
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.sqlite import SqliteStore
from trio_jobs.stores.submission import submission


@pytest.mark.parametrize(
    ("address", "path", "options"),
    [
        ("sqlite:///jobs.db", "jobs.db", {}),
        ("sqlite:////var/lib/jobs.db", "/var/lib/jobs.db", {}),
        ("sqlite:///a%20b%23c%3F.db?synchronous=normal", "a b#c?.db", {"synchronous": "normal"}),
        ("sqlite:///jobs.db?synchronous=full", "jobs.db", {"synchronous": "full"}),
        ("sqlite:///ü/:memory:", "ü/:memory:", {}),
    ],
)
def test_a_file(address: str, path: str, options: dict[str, Any]) -> None:
    """Three slashes precede a relative path, four an absolute one; special characters are escaped."""
    assert sqlite_path(address) == (path, options)


@given(st.text(min_size=1))
def test_any_path_can_be_written(path: str) -> None:
    """A quoted path in an address is read as that path."""
    assume("\0" not in path and path != "/" and not any("\ud800" <= char <= "\udfff" for char in path))
    assert sqlite_path(f"sqlite:///{quote(path)}") == (path, {})


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("jobs.db", "^no store has the address 'jobs.db'; there are 'memory://', 'sqlite:///jobs.db' and "),
        ("memory:///", "^no store has the address 'memory:///'"),
        ("redis://localhost", "^no store has the address"),
        ("sqlite:jobs.db", "names no file; write sqlite:///jobs.db, or sqlite:////var/lib/jobs.db"),
        ("sqlite:/jobs.db", "names no file"),
        ("sqlite://jobs.db", "names no file"),
        ("sqlite://host/jobs.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:////", "names no file"),
        ("sqlite:///a%00b", "names no file"),
        ("sqlite:///a#b.db", "'sqlite:///a#b.db' has characters in it that have to be written as %23"),
        ("sqlite:///a\tb.db", "%09"),
        ("sqlite:///a\nb.db", "%0A"),
        ("sqlite:///jobs.db?mode=ro&cache=x", "takes .synchronous=full or normal; got cache, mode$"),
        ("sqlite:///jobs.db?synchronous=off", "^synchronous must be one of 'full', 'normal'; got 'off'"),
        ("sqlite:///jobs.db?synchronous", "^synchronous must be one of"),
    ],
)
def test_what_is_no_address(address: str, complaint: str) -> None:
    """A wrong address is refused with an error that lists the right ones; no part of it is ignored."""
    with pytest.raises(ValueError, match=complaint):
        open_registry(address)


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        (
            {"store": None},
            TypeError,
            "^store takes an address, .* 'sqlite:///jobs.db', or a Store; got None",
        ),
        ({"store": Path("jobs.db")}, TypeError, "^store takes an address"),
        ({"retention": 7}, TypeError, "^retention takes a Retention record; got 7"),
        ({"queue_limit": 0}, ValueError, "^queue_limit must be at least 1; got 0"),
        ({"queue_limit": 1.5}, TypeError, "^queue_limit takes a whole number"),
    ],
    ids=str,
)
def test_arguments_are_checked(arguments: dict[str, Any], error: type[Exception], complaint: str) -> None:
    """Wrong arguments are refused at once, before anything is opened."""
    with pytest.raises(error, match=complaint):
        open_registry(**arguments)


async def nothing(job: object) -> None: ...


async def check_limits(store: Store) -> None:
    """Check that seven jobs may wait in a store, and that a token has at most a byte."""
    batch = [submission(nothing, (), {}) for _ in range(8)]
    with pytest.raises(QueueFull) as full:
        await store.submit(batch, 0, Claimant("w"))
    assert full.value.limit == 7
    (job_id,), _ = await store.submit(batch[:1], 1, Claimant("w"))
    with pytest.raises(InvalidPayload, match="a token"):
        await store.append(job_id, 1, Kind.TOKEN, ["long"], 0)


async def test_memory() -> None:
    """The address `memory://` opens a store in memory with the given limits."""
    limits = Retention(token_bytes=1)
    async with store_opener("memory://", Handlers([nothing]), 7, limits) as (store, shortcuts):
        assert isinstance(store, MemoryStore)
        assert shortcuts == Shortcuts(local=store, ends=store)
        await check_limits(store)


async def test_a_store_of_ones_own_is_closed() -> None:
    """A store object is used as given, by its verbs alone as it may wrap another, and closed at the end."""
    closed: list[Reason] = []

    class Mine(MemoryStore):
        def close(self, reason: Reason) -> None:
            closed.append(reason)

    mine = Mine()
    async with store_opener(mine, Handlers(), None, None) as (store, shortcuts):
        assert (store, shortcuts, closed) == (mine, Shortcuts(), [])
    assert closed == [Reason.SHUTDOWN]


async def test_a_file_opens(tmp_path: Path) -> None:
    """The address of a file opens it, with the given limits and options, and only on entering."""
    path = tmp_path / "a#b.db"
    limits = Retention(token_bytes=1)
    opener = store_opener(f"sqlite:///{quote(str(path))}?synchronous=normal", Handlers([nothing]), 7, limits)
    assert not path.exists()
    async with opener as (store, shortcuts):
        assert isinstance(store, SqliteStore)
        assert shortcuts == Shortcuts(ends=store, batches=True)
        assert path.exists()
        await check_limits(store)
        level = await writer_of(store).call(lambda tx: tx.db.execute("PRAGMA synchronous").get)
        assert level[0] == 1
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
        ("postgresql://me:secret@host/jobs", "postgresql://me:***@host/jobs"),
        ("postgres://host/jobs?password=secret&port=1", "postgres://host/jobs?password=***&port=1"),
    ],
)
def test_a_password_is_not_shown(address: str, shown: str) -> None:
    """What is shown of an address has no password in it."""
    assert without_password(address) == shown


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that is missing."""
    monkeypatch.setitem(sys.modules, "trio_jobs.stores.postgres", None)
    with pytest.raises(ImportError, match=r"PostgreSQL needs the extra: pip install 'trio-jobs\[postgres\]'"):
        open_registry("postgresql://host/jobs")
    monkeypatch.setitem(sys.modules, "trio_jobs.stores.sqlite", None)
    with pytest.raises(
        ImportError, match=r"sqlite:///jobs.db needs the extra: pip install 'trio-jobs\[sqlite\]'"
    ):
        open_registry("sqlite:///jobs.db")
