"""The statements of the store: `sql/*.sql`, with the lifecycle's states and the schema's name written in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from ..._common.errors import quoted
from ..._common.states import KEEPS_RANK, TRANSITIONS, UNSPENT, State, Transition, sources
from ..._model.job import PENALTY, REPEATED, SNOOZES, Priority
from ..records import CRASHES
from .connection import Kept

VERSION: Final = 1
"""The version of the schema. Whatever changes in tables or functions makes a new one."""
COMPAT: Final = 1
"""The oldest version of which programs may still claim, submit and sweep."""
SCHEMA: Final = "trio_jobs"
"""The schema's name in the files, and by default in a database."""

_TABLES: Final = ("tables.sql",)  # what brings the tables to each version, from 1 on
_FUNCTIONS: Final = (
    *(
        "events",
        "starts",
        "ends",
        "lanes",
        "submit",
        "exclusive",
        "claim",
        "append",
        "finish",
        "inputs",
        "cancel",
    ),
    *("leases", "sweep", "looking", "schedules", "limits", "within", "plans"),
)
_LONGEST: Final = 63  # bytes of a name
_UNFIT: Final = re.compile(r"""[\x00-\x1f\x7f"'$%\\{}]|^pg_|^$""")


def check_schema(name: str) -> str:
    """Return a schema's name, which may hold spaces, dots and letters of any kind.

    Raises:
        ValueError: It is too long, begins with `pg_`, or holds a character that has a meaning inside of SQL.
    """
    if _UNFIT.search(name) or len(name.encode(errors="replace")) > _LONGEST:
        raise ValueError(
            f"schema takes a name of 1 to {_LONGEST} bytes without quotes, $, %, \\, braces and control "
            f"characters, that does not begin with pg_; got {quoted(name)}"
        )
    return name


def quote(name: str) -> str:
    """Return a checked name as it stands in SQL."""
    return name if name == SCHEMA else f'"{name}"'


def in_list(words: Iterable[str]) -> str:
    """Return words in the form of SQL after IN."""
    return "({})".format(", ".join(f"'{word}'" for word in words))


def _states(states: Iterable[State]) -> str:
    wanted = set(states)
    return in_list(state for state in State if state in wanted)  # in one order, as partial indexes require


def _words() -> Mapping[str, str]:
    moves = ((before, how, after) for before, row in TRANSITIONS.items() for how, after in row.items())
    levels = (f"SELECT {level.value} AS priority, {PENALTY[level]} AS penalty" for level in Priority)
    return {
        **{what.value: _states(sources(what)) for what in Transition},
        "over": _states(state for state in State if state.over),
        "levels": f"({' UNION ALL '.join(levels)})",
        "unspent": in_list(sorted(UNSPENT)),
        "keeps_rank": in_list(sorted(KEEPS_RANK)),
        "repeated": in_list(sorted(REPEATED)),
        "snoozes": str(SNOOZES),
        "fold_every": str(SNOOZES // 4),
        "moves": ", ".join(map(in_list, moves)),
        "crashes": str(CRASHES),
    }


_WORDS: Final = _words()


def written(sql: str, schema: str) -> str:
    """Return SQL with states in place of words in braces, and with a schema's name."""
    sql = re.sub(r"\{(\w+)\}", lambda found: _WORDS.get(found[1], found[0]), sql)
    return re.sub(rf"\b{SCHEMA}\.", lambda _: f"{quote(schema)}.", sql)


def _read(name: str) -> str:
    return files(__package__ or __name__).joinpath("sql", name).read_text("utf-8")


def _there() -> set[str]:
    return {file.name for file in files(__package__ or __name__).joinpath("sql").iterdir()}


@cache
def tables(schema: str) -> tuple[str, ...]:
    """Return the scripts that bring the tables to each version, from 1 on."""
    return tuple(written(_read(name), schema) for name in _TABLES)


@cache
def functions(schema: str) -> str:
    """Return the script that creates or replaces the functions of this version."""
    names = (f"{name}.sql" for name in _FUNCTIONS)
    return written("\n".join(_read(name) for name in names if name in _there()), schema)


@cache
def queries(schema: str) -> Mapping[str, bytes]:
    """Return the statements of `queries.sql`, which connections keep, by name."""
    found = _read("queries.sql") if "queries.sql" in _there() else ""
    parts = re.split(r"^-- name: (\S+)$", found, flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {name: Kept(written(sql, schema).strip().encode()) for name, sql in pairs}
