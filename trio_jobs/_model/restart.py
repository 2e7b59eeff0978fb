"""The record that says how a service is restarted, and what a service may be."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Final

import attrs

from .._common.validate import at_least, finite, number, whole
from .job import SNOOZES, Options, Timeouts
from .retry import Retry

SERVICE: Final = "service:"
"""The name that a service holds is this and the name of its handler."""


def _positive(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    number(field.name, value)
    if value == 0:
        raise ValueError(f"{field.name} must be more than 0 seconds")


def _most(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    whole(field.name, value, 1)
    if value > SNOOZES:
        raise ValueError(f"{field.name} is {SNOOZES} at most, as no more restarts are kept; got {value}")


@attrs.frozen
class Restart:
    """How a service is restarted, whatever ended it but a cancellation.

    The n-th restart in a row waits `first * factor**(n - 1)` seconds, at most `maximum`.

    Attributes:
        first: Seconds before the first restart.
        factor: What each further wait is multiplied by.
        maximum: The longest wait in seconds.
        healthy: An attempt that ran for so many seconds begins a new row.
        most: How many restarts there may be `within` so many seconds, up to 100; with one more end the
            service is FAILED, reason `restarts`.
        within: See `most`.
    """

    first: float = attrs.field(default=1.0, validator=finite)
    factor: float = attrs.field(default=2.0, validator=[finite, at_least(1, at_most=math.inf)])
    maximum: float = attrs.field(default=60.0, validator=finite)
    healthy: float = attrs.field(default=60.0, validator=finite)
    most: int = attrs.field(default=5, validator=_most)
    within: float = attrs.field(default=60.0, validator=[finite, _positive])

    def delay(self, number: int) -> float:
        """Return the seconds before the restart of that number in a row, from 1."""
        return Retry(None, self.first, self.factor, self.maximum, 0.0).delay(number)


def service_options(name: str, service: object, options: Options, retry: object) -> Options:
    """Return the options of the jobs of a service.

    Raises:
        TypeError: `service` is no `Restart`, or there is a retry rule, too.
        ValueError: There is a timeout that has no meaning for a service.
    """
    if not isinstance(service, Restart):
        raise TypeError(f"service takes a Restart record, such as Restart(first=1); got {service!r}")
    if retry is not None:
        raise TypeError(f"{name} is a service, which its Restart starts again; leave out retry")
    if Timeouts(None, None, options.timeouts.first_token, options.timeouts.idle) != options.timeouts:
        raise ValueError(
            f"{name} is a service, which runs always and waits for no slot; leave out timeout, Timeouts.run "
            "and Timeouts.queue"
        )
    return attrs.evolve(options, exclusive=SERVICE + name, on_busy="attach", restart=service)


def check_service(fn: Callable[..., Any], least: float, inputs: object, limits: object) -> None:
    """Check that a handler can be a service; `least` is how many arguments it takes.

    Raises:
        TypeError: It takes arguments or inputs, or has limits.
    """
    own = 2 if next(iter(inspect.signature(fn).parameters), "") == "self" else 1  # of a method
    if least > own:
        raise TypeError("a service takes the job context and no arguments: nobody submits it")
    if inputs is not None:
        raise TypeError("a service takes no inputs; leave out inputs")
    if limits:
        raise TypeError("a service runs once per store and takes no slot; leave out limits")
