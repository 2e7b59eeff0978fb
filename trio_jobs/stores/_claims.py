"""Keep what each claim with an id has started, so that it can be asked again."""

from __future__ import annotations

from ._row import Row
from .contract import Claim


class Claims(dict[str, dict[str, Claim]]):
    """Maps the ids of claims to the attempts that they started and that still run, by job id."""

    def add(self, row: Row, claim: str, started: Claim) -> None:
        """Note the start of an attempt."""
        self.setdefault(claim, {})[row.submission.id] = started

    def ended(self, row: Row, claim: str, *, fence: bool) -> None:
        """Note the end of an attempt; if a sweep ended it, `finish` is to be refused."""
        started = self[claim]
        started.pop(row.submission.id, None)  # a child job, which ends before its parent, is not among them
        if not started:
            del self[claim]
        if fence:
            row.claim = None
