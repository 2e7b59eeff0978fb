"""The options that several commands take, and the functions that parse them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias, cast, get_args

from cyclopts import Parameter, Token

from .._common.states import State
from .._common.validate import RefusedAs
from .._model.exclusive import Debounce
from .._model.job import Policy, Priority
from .._model.options import SubmitOptions
from .._registry.address import is_postgres, sqlite_path
from .durations import seconds
from .faults import Fault

DEFAULT_STORE = "sqlite:///jobs.db"
ON_A_STORE = "a server does not do this: it works on the store itself"
NO_SERVER = f"{ON_A_STORE}; name that with --store, as {DEFAULT_STORE}"
MEMORY = "memory://"
OF_A_HANDLER = "[OPTIONS] HANDLERS NAME [ARGS...]"
"""How commands are used that take the name of a handler: without one, they list those that there are."""
STORE_VARIABLE = "TRIO_JOBS_STORE"
_SERVERS = frozenset({"http", "https", "ws", "wss"})


def _to_seconds(_: Any, tokens: Sequence[Token]) -> float:
    return seconds(tokens[0].value)


def _to_on_busy(_: Any, tokens: Sequence[Token]) -> Policy | Debounce:
    word, _, spans = tokens[0].value.partition("=")
    if word == "debounce" and spans.count(",") == 1:
        return Debounce(*map(seconds, spans.split(",")))
    if tokens[0].value not in get_args(Policy):
        words = ", ".join(get_args(Policy))
        raise ValueError(
            f"takes {words} or debounce=SECONDS,AT_MOST, as debounce=5s,1m; got {tokens[0].value!r}"
        )
    return cast("Policy", word)


Store: TypeAlias = Annotated[
    str,
    Parameter(
        env_var=STORE_VARIABLE,
        help="Where the jobs are kept, as sqlite:///jobs.db or postgresql://host/database.",
        metavar="URL",
    ),
]
Jobs: TypeAlias = Annotated[
    str,
    Parameter(
        name=("--store", "--url"),
        env_var=STORE_VARIABLE,
        help="Where the jobs are kept, as sqlite:///jobs.db or postgresql://host/database; or the server "
        "that serves them, as http://127.0.0.1:8000.",
        metavar="URL",
    ),
]
Json: TypeAlias = Annotated[
    bool, Parameter(name="--json", negative=(), help="Print JSON, a value on each line.")
]
Seconds: TypeAlias = Annotated[float, Parameter(converter=_to_seconds, n_tokens=1, metavar="S")]
Tags: TypeAlias = Annotated[
    list[str] | None,
    Parameter(name="--tag", negative=(), help="A tag, as name=value; may be repeated.", metavar="K=V"),
]
Kwargs: TypeAlias = Annotated[
    list[str] | None,
    Parameter(
        name="--kwarg",
        negative=(),
        help="A keyword argument, as name=value, where the value is as for ARGS; may be repeated.",
        metavar="K=V",
    ),
]
States: TypeAlias = Annotated[
    list[State] | None,
    Parameter(name="--state", negative=(), help="Only jobs in this state; may be repeated."),
]
PriorityName: TypeAlias = Annotated[Priority | None, Parameter(help="How soon it is claimed.")]
OnBusy: TypeAlias = Annotated[
    Policy | Debounce,
    Parameter(converter=_to_on_busy, n_tokens=1, accepts_keys=False, show_choices=False, metavar="POLICY"),
]
HandlersAt: TypeAlias = Annotated[
    str,
    Parameter(
        name="HANDLERS",
        help="module:attribute, where a handler or a list of them is; a module stands for its @handler "
        "functions.",
    ),
]
HandlersOf: TypeAlias = Annotated[
    str,
    Parameter(
        name="HANDLERS",
        help="module:attribute, where a handler or a list of them is; a module stands for its @handler "
        "functions, and - for those of the server.",
        allow_leading_hyphen=True,
    ),
]
Id: TypeAlias = Annotated[str, Parameter(name="ID", help="The job's id, or an unambiguous beginning of it.")]


def given(**options: Any) -> SubmitOptions:
    """Return those options of a job that are not None."""
    return cast("SubmitOptions", {name: value for name, value in options.items() if value is not None})


Ids: TypeAlias = Annotated[str, Parameter(name="ID", help="Ids of jobs, or unambiguous beginnings of them.")]


def tags_of(given: Sequence[str] | None) -> dict[str, str]:
    """Return tags by name.

    Raises:
        Fault: A tag is not written as name=value, or given twice.
    """
    return _pairs("--tag", "user=7", given)


def kwargs_of(given: Sequence[str] | None) -> dict[str, Any]:
    """Return keyword arguments.

    Raises:
        Fault: One is not written as name=value, or given twice.
    """
    return {name: value_of(text) for name, text in _pairs("--kwarg", "loud=true", given).items()}


def _pairs(option: str, example: str, given: Sequence[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Fault(f"{option} takes name=value, as in {option} {example}; got {text!r}")
        if name in found:
            raise Fault(f"{option} gives {name!r} twice; leave one out")
        found[name] = value
    return found


def value_of(text: str) -> Any:
    """Return an argument: the value of a text that is JSON, and any other text itself."""
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return text


def _refused(word: str) -> Any:
    raise ValueError(f"JSON has no {word}")


def is_server(address: str) -> bool:
    """Return whether an address is that of a server."""
    return address.partition("://")[0].lower() in _SERVERS


def check_no_owner(owner: str | None) -> None:
    """Raise `Fault` if jobs of a server are chosen by their owner."""
    if owner is not None:
        raise Fault("a server takes the owner from the caller's token; leave --owner out")


def check_store(store: str) -> None:
    """Check that an address names a store that other processes share.

    Raises:
        Fault: It does not.
    """
    if is_postgres(store):
        from ..stores.postgres.opening import database_at

        with RefusedAs(lambda why: Fault(f"--store: {why}")):
            database_at(store)
    else:
        file_of(store)


def file_of(store: str) -> str:
    """Return the path of the file that an address names.

    Raises:
        Fault: The address does not name a file.
    """
    if store == MEMORY:
        raise Fault(
            "memory:// is of the process that opens it, and holds no jobs of others; name a file: sqlite:///jobs.db"
        )
    if is_server(store):
        raise Fault(f"{NO_SERVER}; got {store}")
    other = "" if store.startswith("sqlite:") else "; that of a server begins with http:// or https://"
    with RefusedAs(lambda why: Fault(f"--store: {why}{other}")):
        return sqlite_path(store)[0]
