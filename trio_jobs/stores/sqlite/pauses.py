"""Pauses in a file: a row for each name, each as a function over one transaction.

What is paused is left out of the handlers for which a claim looks, so it costs a claim nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ..pauses import Pauses
from ..rows import text
from .group import Transaction

_ALL: Final = ""  # no handler has this name


def pause(tx: Transaction, names: Collection[str] | None, *, paused: bool) -> None:
    """Pause handlers, or resume them; None stands for all."""
    tx.check_compat()
    if names is None and not paused:
        tx.run("resume_all")
    for name in [_ALL] if names is None else names:
        if paused:
            tx.run("pause", name=name)
        else:
            tx.run("resume", name=name)
    tx.pauses, tx.pausing = None, True


def paused(tx: Transaction) -> Pauses:
    """Return what is paused."""
    if tx.pauses is None:
        names = {text(name) or "" for (name,) in tx.run("pauses")}
        tx.pauses = Pauses(_ALL in names, frozenset(names - {_ALL}))
    return tx.pauses


def startable(tx: Transaction, handlers: Collection[str]) -> Collection[str]:
    """Return those of these handlers whose jobs a call that may claim can start."""
    tx.check_compat()
    return unpaused(tx, handlers) if tx.pausing else handlers


def unpaused(tx: Transaction, handlers: Collection[str]) -> Collection[str]:
    """Return those of these handlers that are not paused."""
    pauses = paused(tx)
    return [name for name in handlers if not pauses.hold(name)]
