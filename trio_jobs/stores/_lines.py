"""Keep the exclusive jobs of the memory store that have not ended, by their names."""

from __future__ import annotations

from ._row import Row
from .contract import Submission


class Lines(dict[tuple[str | None, str | None], list[Row]]):
    """Maps owner and name to the jobs that have it, in order: its holder, and those behind it.

    Attributes:
        behind: How many jobs stand behind a holder.
    """

    behind = 0

    def of(self, new: Submission) -> list[Row]:
        """Return the jobs that have the name of a new one."""
        return self.get((new.options.owner, new.options.exclusive), [])

    def join(self, row: Row) -> None:
        """Add a job as the last."""
        options = row.submission.options
        row.line = self.setdefault((options.owner, options.exclusive), [])
        row.line.append(row)
        self.behind += len(row.line) > 1

    def leave(self, row: Row) -> Row | None:
        """Remove a job that has ended; if it held the name, return the job that now does."""
        line, row.line = row.line or [row], None
        held = line[0] is row
        line.remove(row)
        if not line:
            options = row.submission.options
            del self[options.owner, options.exclusive]
            return None
        self.behind -= 1
        return line[0] if held else None
