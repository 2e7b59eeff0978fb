"""What feeds have sent last, at hand for who is a little behind; bounded for each feed and for all."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from .piece import Piece

_MOST_OF_ONE: Final = 4 * 1024 * 1024


class Row:
    """The pieces of one feed, by the cursor before them, the oldest first.

    Attributes:
        weight: Bytes that they take.
    """

    def __init__(self) -> None:
        self.weight = 0
        self.pieces: OrderedDict[int, Piece] = OrderedDict()


class Shelf:
    """The pieces of all feeds of a server.

    Args:
        most: Bytes that they may take.

    Attributes:
        weight: Bytes that they take.
    """

    def __init__(self, most: int) -> None:
        self.weight = 0
        self._most = most
        self._rows: OrderedDict[Piece, Row] = OrderedDict()  # the oldest first

    def put(self, row: Row, piece: Piece) -> None:
        """Add a piece to a row, and drop what is too much then: of that row first, then what is oldest."""
        row.pieces[piece.after] = piece
        row.weight += piece.weight
        self._rows[piece] = row
        self.weight += piece.weight
        while row.weight > _MOST_OF_ONE:
            self._drop(next(iter(row.pieces.values())))
        while self.weight > self._most:
            self._drop(next(iter(self._rows)))

    def clear(self, row: Row) -> None:
        """Drop a whole row."""
        while row.pieces:
            self._drop(next(iter(row.pieces.values())))

    def _drop(self, piece: Piece) -> None:
        row = self._rows.pop(piece)
        del row.pieces[piece.after]
        row.weight -= piece.weight
        self.weight -= piece.weight
