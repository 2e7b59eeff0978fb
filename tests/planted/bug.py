"""What a planted bug is."""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """A change that makes the package wrong.

    Attributes:
        name: What is wrong, in a few words.
        seen: What a user would see.
        file: The file in the package.
        before: Text that is in it once.
        after: What stands there instead.
        lane: What is to find it: one of `UNITS` in `hunt.py`.
    """

    name: str
    seen: str
    file: str
    before: str
    after: str
    lane: str
