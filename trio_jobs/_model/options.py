"""The options of `submit` and `spawn`: their types, and how they are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict, cast, get_args

import attrs

from .._common.errors import quoted
from .._common.validate import choice, number, seconds, tags, text
from .job import Options, Policy, Priority, Timeouts, Unread
from .retry import Retry

if TYPE_CHECKING:  # few programs put jobs off
    from .exclusive import Debounce

PriorityName: TypeAlias = Literal["urgent", "high", "normal", "low"]
"""The name of a `Priority`, in their order."""
LIMIT_KEY: Final = 256
"""How many characters a `limit_key` has at most."""


class SpawnOptions(TypedDict, total=False):
    """The options of a child job.

    Attributes:
        timeout: Seconds the attempt may run.
        timeouts: All clocks, in place of `timeout`.
        tags: Text by name, to find the job by.
        metadata: Anything worth keeping with the job.
    """

    timeout: float | None
    timeouts: Timeouts
    tags: Mapping[str, str]
    metadata: Mapping[str, Any]


class SubmitOptions(SpawnOptions, total=False):
    """The options of `submit`.

    Attributes:
        retry: How often, when and after what the job runs again.
        priority: How soon it is claimed among the jobs that are due: a `Priority`, its name or its number.
        delay: Seconds until it is due.
        run_at: When it is due, as an aware datetime; in place of `delay`.
        key: Idempotency key: submitting the same again gives the same job.
        owner: Whose job it is; part of the key's address.
        when_unread: What the job does while it has no reader: `continue`, `pause` or `cancel`.
        linger: With `cancel`, seconds without a reader before it is.
        exclusive: A name that one job of the owner holds at a time, of whatever handler, until it has ended.
        on_busy: What happens if a job holds that name. `reject`, which is what happens by default: the submit
            raises `Busy`. `attach`: it gives that job. `after`: the new job starts once those that came
            before it have ended. `replace`: what waits under the name ends CANCELLED, reason `replaced`, and
            the new job starts once the one that runs, if there is one, has ended. `cancel`: the same, and the
            one that runs is cancelled. A `Debounce`: as `replace`, after a while without a submit.
        limit_key: For whom it takes a place of its handler's keyed limit; given if and only if there is one.
    """

    retry: Retry
    priority: Priority | PriorityName | int
    delay: float
    run_at: datetime
    key: str | None
    owner: str | None
    when_unread: Unread
    linger: float
    exclusive: str | None
    on_busy: Policy | Debounce
    limit_key: str | None


def _record(kind: type[Any], value: object, hint: str = "") -> Any:
    if not isinstance(value, kind):
        name = kind.__name__
        raise TypeError(f"{name.lower()} takes a {name} record{hint}; got {quoted(value)}")
    return value


def _priority(value: object) -> Priority:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(Priority):
        return Priority(value)
    names = get_args(PriorityName)
    if isinstance(value, str) and value in names:
        return Priority(names.index(value))
    known = ", ".join(f"{name!r} ({number})" for number, name in enumerate(names))
    raise ValueError(f"priority must be one of {known}; got {quoted(value)}")


def _run_at(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"run_at takes a datetime; got {quoted(value)}")
    if value.tzinfo is None:
        raise ValueError(
            f"run_at must know its time zone, as datetime.now(UTC) does; got {value.isoformat()}"
        )
    return value


def named(option: str, value: object) -> Mapping[str, Any]:
    """Return a copy of values by name. Raises `TypeError`, with the option's name, if they are none."""
    if isinstance(value, Mapping):
        items = dict(cast("Mapping[Any, Any]", value))
        if all(isinstance(key, str) for key in items):
            return items
    raise TypeError(f"{option} takes a mapping with str names; got {quoted(cast('object', value))}")


def _kwargs(_: object) -> None:
    raise TypeError(
        "kwargs are no option here: a job is submitted again with the arguments that it had, and a schedule "
        "has kwargs of its own, beside its args"
    )


def _exclusive(value: object) -> str | None:
    if isinstance(value, str) and value.startswith("service:"):
        raise ValueError(f"exclusive names that begin with 'service:' are those of services; got {value!r}")
    if value is None or text("exclusive", value):
        return cast("str | None", value)
    raise ValueError("exclusive takes a name, such as 'chat-7'; got an empty one")


def _on_busy(value: object) -> Policy | Debounce:
    if isinstance(value, str):
        policy: Policy = choice("on_busy", value, get_args(Policy))
        return policy
    from .exclusive import Debounce  # which few programs need

    if isinstance(value, Debounce):
        return value
    names = ", ".join(map(repr, get_args(Policy)))
    raise TypeError(f"on_busy takes {names} or Debounce(seconds, at_most); got {quoted(value)}")


def _limit_key(value: object) -> str | None:
    if value is None or 1 <= len(text("limit_key", value)) <= LIMIT_KEY:
        return cast("str | None", value)
    raise ValueError(f"a limit_key has 1 to {LIMIT_KEY} characters; got {len(cast('str', value))}")


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "timeouts": lambda value: _record(Timeouts, value),
    "retry": lambda value: _record(Retry, value, ", such as Retry(attempts=3)"),
    "priority": _priority,
    "delay": lambda value: seconds("delay", value),
    "run_at": _run_at,
    "tags": tags,
    "metadata": lambda value: named("metadata", value),
    "kwargs": _kwargs,
    "owner": lambda value: None if value is None else text("owner", value),
    "when_unread": lambda value: choice("when_unread", value, get_args(Unread)),
    "linger": lambda value: seconds("linger", value),
    "exclusive": _exclusive,
    "on_busy": _on_busy,
    "limit_key": _limit_key,
}
_TOGETHER = (("timeout", "timeouts"), ("delay", "run_at"))
_PLAIN = frozenset({"timeout", "priority", "delay", "owner", "when_unread", "linger"})
_KEPT: Final = 1000
_built: dict[tuple[object, ...], tuple[Options, Options]] = {}


def build_once(base: Options, given: Mapping[str, Any]) -> Options:
    """Return what `build` does: the same record again for what was given before, as most jobs are alike.

    Only for a base that lasts, as the options of a handler's mark do: it is kept, and found by its identity.
    """
    if not given:
        return base
    # A record or a mapping may be equal to another and hold other types.
    if not given.keys() <= _PLAIN:
        return build(base, given)
    key = (id(base), *given.items(), *map(type, given.values()))  # 1, 1.0 and True are equal
    try:
        if (known := _built.get(key)) is not None:
            return known[1]
    except TypeError:  # what has no hash is refused
        return build(base, given)
    if len(_built) >= _KEPT:  # each record is built once more at most, and every hit stays one look-up
        _built.clear()
    _built[key] = base, build(base, given)
    return _built[key][1]


def build(base: Options, given: Mapping[str, Any]) -> Options:
    """Return `base` with the options that were given, each checked.

    Raises:
        TypeError: An option is unknown or has the wrong type.
        ValueError: An option is out of range, or two exclude each other.
    """
    if not given:
        return base
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in _CHECKS:
            changes[name] = _CHECKS[name](value)
        elif name != "timeout":
            import difflib  # needed only for this error

            near = difflib.get_close_matches(name, [*_CHECKS, "timeout", "key"], 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"there is no option {name!r}{hint}")
    for one, other in _TOGETHER:
        if given.get(one) is not None and given.get(other) is not None:
            raise ValueError(f"give {one} or {other}, not both")
    if "timeout" in given and given.get("timeouts") is None:
        if given["timeout"] is not None:
            number("timeout", given["timeout"])
        old = base.timeouts
        changes["timeouts"] = Timeouts(given["timeout"], old.queue, old.first_token, old.idle)
    if "on_busy" in changes:
        _complete(changes, given)
    return attrs.evolve(base, **changes)


def _complete(changes: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Check what goes with `on_busy`; a debounce is a delay, too."""
    if changes.get("exclusive") is None:
        raise ValueError("on_busy needs exclusive=, the name that one job holds at a time; give both")
    if not isinstance(on_busy := changes["on_busy"], str):
        if given.get("delay") is not None or given.get("run_at") is not None:
            raise ValueError("a Debounce says when the job is due; give neither delay nor run_at with it")
        changes["delay"] = on_busy.seconds
