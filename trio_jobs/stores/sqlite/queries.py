"""The statements of the store: `queries.sql` by name, with the states of the lifecycle written in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from ..._common.states import State, Transition, sources
from ..._model.job import PENALTY, Priority
from ..._model.summary import ARGS_READ, SHOWN
from ..listing import states_in

# The columns of a snapshot, in the order in which `rows.job_of` takes them.
_COLUMNS: Final = (
    *("id", "handler", "state", "reason", "message", "error", "result", "attempt", "priority", "options"),
    *("metadata", "owner", "key", "spent", "saved", "created", "started", "finished", "due"),
    *("cancel_requested", "seq", "unconsumed", "parent", "exclusive", "replaced_by"),
    *("resubmitted_from", "ready", "args"),
)
_TEXTS: Final = (
    *("id", "handler", "state", "reason", "message", "error", "result", "options", "metadata", "owner"),
    *("key", "saved", "parent", "exclusive", "replaced_by", "resubmitted_from", "progress", "args"),
)


def _read(*names: str, table: str = "job.") -> str:
    """Return columns for a SELECT that survives damage: text as bytes, numbers as NULL if they are none."""
    return ", ".join(
        f"CAST({column} AS BLOB)"
        if column.removeprefix(table) in _TEXTS
        else f"iif(typeof({column}) IN ('integer', 'real'), {column}, NULL)"
        for column in (f"{table}{name}" for name in names)
    )


SNAPSHOT: Final = f"""SELECT {_read(*_COLUMNS)}, CASE WHEN job.behind IS NOT NULL THEN (
    SELECT CAST(holder.id AS BLOB) FROM trio_jobs_job AS holder
    WHERE holder.exclusive = job.exclusive AND coalesce(holder.owner, x'') = coalesce(job.owner, x'')
        AND holder.behind IS NULL AND holder.finished IS NULL AND job.finished IS NULL
) END
FROM trio_jobs_job AS job"""  # noqa: S608  # ours

# A running job as it stands, as `looking.Running` takes it.
_RUNNING: Final = """SELECT
    number, seq, appended, kept, bytes, cancel_requested, cancel_message, attempt, losses,
    consumed, last_input, repeated, repeats,
    EXISTS (
        SELECT 1 FROM trio_jobs_job AS child WHERE child.parent = job.id AND +child.state = 'running'
    )
FROM trio_jobs_job AS job"""

# A lane, as `lanes.Lane` takes it.
_LANE: Final = ", ".join(
    f"trio_jobs_lane.{name}" for name in ("number", "handler", "jobs", "running", "moment", "last", "turn")
)

# What may go of a log, behind the values of `chunks.trim`.
_TRIMMABLE: Final = """id IS NOT :saved
    AND (kind IN ('token', 'progress', 'saved', 'ready') OR kind = 'input' AND id <= :consumed)"""

# Those of a summary, in the order in which `rows.summary_of` takes them.
SUMMARY: Final = f"""SELECT job.number, {_read("id", "handler", "state", "reason")},
    CAST(substr(coalesce(nullif(job.message, ''), CASE WHEN json_valid(job.error) THEN
        coalesce(json_extract(job.error, '$.type'), json_extract(job.error, '$[0]')) || coalesce(
            ': ' || nullif(
                coalesce(json_extract(job.error, '$.message'), json_extract(job.error, '$[1]')), ''
            ), ''
        )
    END), 1, 200) AS BLOB),
    {_read("attempt", "priority", "options", "owner", "parent", "created")},
    {_read("started", "finished", "due", "cancel_requested", "seq")},
    octet_length(job.args), octet_length(job.result), {_read("bytes", "progress")},
    CAST(CASE WHEN octet_length(job.args) <= {ARGS_READ} THEN substr(job.args, 1, {SHOWN}) END AS BLOB)"""


def _blocks(name: str, marker: str) -> Mapping[str, str]:
    text = files(__package__ or __name__).joinpath(name).read_text("utf-8")
    parts = re.split(rf"^-- {marker}: (\S+)$", text, flags=re.MULTILINE)
    return {key: sql.strip() for key, sql in zip(parts[1::2], parts[2::2], strict=True)}


def _load() -> Mapping[str, str]:
    words = {what.value: states_in(sources(what)) for what in Transition}
    words["over"] = states_in(state for state in State if state.over)
    words["is_over"] = " OR ".join(f"state = '{state}'" for state in State if state.over)
    levels = (f"SELECT {level.value} AS priority, {PENALTY[level]} AS penalty" for level in Priority)
    words["levels"] = f"({' UNION ALL '.join(levels)})"
    words["snapshot"], words["columns"] = SNAPSHOT, _read(*_COLUMNS, table="") + ", NULL"
    words["running"], words["known"] = _RUNNING, states_in(State)
    words["trimmable"], words["lane"] = _TRIMMABLE, _LANE
    found: dict[str, str] = {}
    for name, sql in _blocks("queries.sql", "name").items():
        if "{sources}" in sql:  # a statement for each transition
            found |= {f"{name} {what}": sql.format(**words, sources=words[what.value]) for what in Transition}
        else:
            found[name] = sql.format(**words)
    return found


QUERIES: Final = _load()
SCHEMAS: Final = tuple(_blocks("schema.sql", "version").values())
"""The scripts that bring a file to each version, from 1 on."""
