"""The signals of a file: those of any database, and the tails of logs that this process keeps."""

from __future__ import annotations

from ..signals import Signals
from .group import Transaction
from .tails import Tails


class FileSignals(Signals):
    """Wakes the tasks of this process that wait for changes of the file.

    Attributes:
        tails: The newest rows that this process appended to logs which it follows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tails = Tails()

    def on_transaction(self, tx: Transaction) -> None:
        """Wake the tasks that wait for what a transaction did; the first of its calls does so for all."""
        if tx.announced:
            return
        tx.announced = True
        self.tails.on_transaction(tx)
        self.on_changes(tx)

    def ring_shared(self) -> None:
        """See `Signals.ring_shared`."""
        super().ring_shared()
        self.tails.forget()
