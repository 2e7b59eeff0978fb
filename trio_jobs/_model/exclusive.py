"""A value of `SubmitOptions.on_busy` that few programs need."""

from __future__ import annotations

import attrs

from .._common.validate import finite


@attrs.frozen(slots=False)  # there are few, and it is made faster
class Debounce:
    """Run the last of several jobs that are submitted in quick succession; a value of `on_busy`.

    Each submit replaces what waits, and is due `seconds` later, but no later than `at_most` seconds after
    the first of those that replaced one another.

    Attributes:
        seconds: How long no other job is to be submitted.
        at_most: How long the first one may be put off; at least `seconds`.
    """

    seconds: float = attrs.field(validator=finite)
    at_most: float = attrs.field(validator=finite)

    def __attrs_post_init__(self) -> None:
        """Compare the two."""
        if self.at_most < self.seconds:
            raise ValueError(
                f"at_most must be at least seconds, else no job would wait that long; got {self.at_most:g} "
                f"and {self.seconds:g}"
            )
