"""The last batches of feeds, kept for followers that are a little behind; bounded per feed and for all."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

from .batch import EventBatch

_MOST_OF_ONE: Final = 4 * 1024 * 1024


@attrs.define(eq=False)
class Row:
    """The batches of one feed, by the cursor before them, the oldest first.

    Attributes:
        weight: Bytes that they take.
    """

    weight: int = 0
    batches: OrderedDict[int, EventBatch] = attrs.field(factory=OrderedDict[int, EventBatch])


class Shelf:
    """The batches of all feeds of a server.

    Args:
        most: Bytes that they may take.

    Attributes:
        weight: Bytes that they take.
    """

    def __init__(self, most: int) -> None:
        self.weight = 0
        self._most = most
        self._rows: OrderedDict[EventBatch, Row] = OrderedDict()  # the oldest first

    def put(self, row: Row, batch: EventBatch) -> None:
        """Add a batch to a row, and drop what is then too much: of that row first, then the oldest of all."""
        row.batches[batch.after] = batch
        row.weight += batch.weight
        self._rows[batch] = row
        self.weight += batch.weight
        while row.weight > _MOST_OF_ONE:
            self._drop(next(iter(row.batches.values())))
        while self.weight > self._most:
            self._drop(next(iter(self._rows)))

    def clear(self, row: Row) -> None:
        """Drop a whole row."""
        while row.batches:
            self._drop(next(iter(row.batches.values())))

    def _drop(self, batch: EventBatch) -> None:
        row = self._rows.pop(batch)
        del row.batches[batch.after]
        row.weight -= batch.weight
        self.weight -= batch.weight
