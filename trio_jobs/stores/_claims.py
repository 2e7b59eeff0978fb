"""Keep what each claim with an id has started, so that it can be asked again."""

from __future__ import annotations

from ._row import Row
from .contract import Claim


class Claims:
    """Maps the ids of claims to the attempts that they started and that still run."""

    def __init__(self) -> None:
        self._started: dict[str | None, dict[str, Claim]] = {}

    def add(self, row: Row, claim: Claim) -> None:
        """Note the start of an attempt. A child job is not claimed, and only shares its parent's id."""
        row.claim = claim.id
        if claim.id is not None and row.parent is None:
            self._started.setdefault(claim.id, {})[row.submission.id] = claim

    def ended(self, row: Row, *, fence: bool) -> None:
        """Note the end of an attempt; if a sweep ended it, `finish` is to be refused."""
        if row.claim is not None:
            started = self._started.get(row.claim, {})
            started.pop(row.submission.id, None)
            if not started:
                self._started.pop(row.claim, None)
            if fence:
                row.claim = None

    def started(self, claim: str | None) -> list[Claim]:
        """Return the attempts that a claim started and that still run."""
        return [*self._started.get(claim, {}).values()]
