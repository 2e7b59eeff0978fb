"""Make the requests of a client, checked as `JobRegistry` checks them, so that a mistake raises at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .._common.errors import InvalidPayload
from .._common.validate import text
from .._json.values import encode
from .._model.handler import check_call, check_limit_key, mark_of
from .._model.job import DEFAULT, new_id
from .._model.options import build, named
from .._model.retry import Retry
from .._registry.filter import Filter, Search, where_of
from .._wire.options import DebounceOptions, RetryOptions, SubmitOptions, TimeoutOptions
from .._wire.requests import AnyRequest

_ANY_ERROR = Retry().on


def text_of(request: AnyRequest) -> str:
    """Return a request as it is sent.

    Raises:
        InvalidPayload: JSON cannot hold it.
    """
    return encode(f"the request to {type(request).__name__.lower()}", request).decode()


def called(fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the name of a handler and its arguments as they are sent.

    Raises:
        TypeError: `fn` is neither a name nor an async function, or does not take the arguments.
        InvalidPayload: JSON cannot hold one.
    """
    kwargs = named("kwargs", kwargs)
    name = text("handler", fn) if isinstance(fn, str) else check_call(fn, args, kwargs).name
    encode(f"the arguments of {name}", args)
    encode(f"the arguments of {name}", kwargs)
    return {"handler": name, "args": list(args), **({"kwargs": kwargs} if kwargs else {})}


def options_of(fn: Any, given: Mapping[str, Any]) -> SubmitOptions:
    """Return options as they are sent, with a new key if none was given.

    Thanks to the key, a submission that is sent again because the first answer was lost makes no second job.

    Raises:
        TypeError: An option is unknown or has the wrong type.
        ValueError: An option is out of range.
        InvalidPayload: `Retry.on` was given, which is code and cannot be sent.
    """
    own = {name: value for name, value in given.items() if name != "key"}
    checked = build(DEFAULT, own)
    if not isinstance(fn, str):
        check_limit_key(mark_of(fn), own)
    key = given.get("key")
    if "retry" in own and checked.retry.on not in (_ANY_ERROR, _on_of(fn)):
        raise InvalidPayload(
            "which errors are retried is code: set Retry.on in @handler(retry=…) of the server"
        )
    found: dict[str, Any] = {name: getattr(checked, name) for name in own if name != "timeout"}
    if "timeout" in own and own.get("timeouts") is None:
        found["timeout"] = _finite(checked.timeouts.run)
    found["key"] = new_id() if key is None else text("key", key)
    return SubmitOptions(**{name: _WIRE[name](one) if name in _WIRE else one for name, one in found.items()})


def _on_of(fn: Any) -> Any:
    return _ANY_ERROR if isinstance(fn, str) else mark_of(fn).options.retry.on


def _finite(seconds: float | None) -> float | None:
    """Return a limit; None for an infinite one, which JSON does not have."""
    return None if seconds == math.inf else seconds


_WIRE: Mapping[str, Callable[[Any], Any]] = {
    "timeouts": lambda it: TimeoutOptions(*map(_finite, attrs.astuple(it))),
    "retry": lambda it: RetryOptions(it.attempts, it.initial, it.factor, it.maximum, it.jitter),
    "priority": lambda it: it.name.lower(),
    "on_busy": lambda it: it if isinstance(it, str) else DebounceOptions(it.seconds, it.at_most),
}
"""The options that the wire has in another form."""


def filter_of(where: Filter | Search) -> dict[str, Any]:
    """Return a filter as it is sent. Raises as `JobRegistry.find` does."""
    if "owner" in where:
        raise TypeError("a server takes the owner from the caller's credentials; leave owner out")
    wanted = where_of(where)
    found: dict[str, Any] = {
        name: value for name in where if (value := getattr(wanted, name, None)) is not None
    }
    if wanted.states is not None:
        found["state"] = sorted(wanted.states)
    return found
