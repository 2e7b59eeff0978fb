"""Decide when a failed job runs again: pure rules, no clock and no tasks.

The annotations are types, not text, as in `job.py`.
"""

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from .._common.validate import at_least, finite, whole

if TYPE_CHECKING:
    Matcher: TypeAlias = (
        type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
    )
else:
    Matcher = Any  # for msgspec, which fills the record from JSON, where this never is


def _is_matcher(_: object, field: "attrs.Attribute[Any]", on: object) -> None:
    kinds = cast("tuple[object, ...]", on) if isinstance(on, tuple) else (on,)
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return
    if isinstance(on, type) or not callable(cast("object", on)):
        raise TypeError(
            f"{field.name} takes an exception class, a tuple of them, or a function from an exception "
            f"to a bool; got {cast('object', on)!r}"
        )


def _is_budget(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    if value is not None:
        whole(field.name, value, 1)


@attrs.frozen
class Retry:
    """How often, when and after what a job runs again.

    The n-th retry waits `initial * factor**(n - 1)` seconds, at most `maximum`, less a random part of
    up to `jitter` of that. The random part is taken off after the cap: taken before, every job that has
    reached the cap would wait equally long, and the storm that jitter is there to prevent would be back.

    Attributes:
        attempts: How many attempts may be spent in all; 1 means no retry, None that there is no bound.
        initial: Seconds before the first retry.
        factor: What each further wait is multiplied by.
        maximum: The longest wait in seconds.
        jitter: How much of a wait is random, from 0 (none) to 1 (all of it).
        on: What is retried: an exception class, a tuple of classes, or a function that is given the
            exception. A group counts if any of its leaves does; a timeout arrives as `JobTimedOut`,
            which is a `TimeoutError`.
    """

    attempts: int | None = attrs.field(default=1, validator=_is_budget)
    initial: float = attrs.field(default=1.0, validator=finite)
    factor: float = attrs.field(default=2.0, validator=at_least(1, at_most=math.inf))
    maximum: float = attrs.field(default=60.0, validator=finite)
    jitter: float = attrs.field(default=0.5, validator=at_least(0, at_most=1))
    on: Matcher = attrs.field(default=Exception, validator=_is_matcher)

    def matches(self, error: BaseException) -> bool:
        """Return whether `on` names this error. An exception of an `on` function is raised."""
        on: Any = self.on
        return isinstance(error, on) if isinstance(on, (type, tuple)) else bool(on(error))

    def allows(self, spent: int) -> bool:
        """Return whether there may be another attempt when `spent` attempts have failed."""
        return self.attempts is None or spent < self.attempts

    def delay(self, spent: int) -> float:
        """Return the seconds to wait when `spent` attempts have failed."""
        if not self.initial:
            return 0.0
        try:
            full = min(self.maximum, self.initial * self.factor ** (spent - 1))
        except OverflowError:
            full = self.maximum
        return full * (1 - self.jitter * random.random())  # noqa: S311  # spreads load, guards nothing


NO_RETRY = Retry()
