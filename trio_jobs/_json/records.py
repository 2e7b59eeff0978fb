"""Turn the records of the package into mappings, as JSON has them on the wire and on the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

import attrs

from .._common.errors import ErrorRecord
from .._common.states import Reason, State
from .._model.job import CancelReport, Ended, Event, Job, Kind, Priority, Progress, Statistics, Step, Timeouts
from .._model.retry import Retry
from .._model.summary import JobSummary

_RECORDS: Final = (
    *(Job, JobSummary, Event, Ended, Progress, Step, ErrorRecord),
    *(Timeouts, Retry, CancelReport, Statistics),
)
_CODE: Final = {"on"}  # of Retry
_FIELDS: Final[Mapping[type, list[str]]] = {
    kind: [field.name for field in attrs.fields(kind) if field.name not in _CODE] for kind in _RECORDS
}
_SIMPLE: Final = {str, int, float, bool, type(None), State, Reason, Kind, Priority}


def plain(value: Any) -> Any:
    """Return a record of the package as a mapping, with the records in it as mappings too.

    The priority of a job is its name. What an event does not say of inputs is left out, and a delay without
    end is None. Other values are as they are.
    """
    kind = cast("type[Any]", type(value))
    if kind in _FIELDS:
        found: dict[str, Any] = {}
        for name in _FIELDS[kind]:
            one = found[name] = getattr(value, name)
            if type(one) not in _SIMPLE:
                found[name] = plain(one)
        if "priority" in found:
            found["priority"] = found["priority"].name.lower()
        if kind is Event and value.received is None:
            del found["received"]
        if kind is Ended and value.delay == math.inf:
            found["delay"] = None  # JSON has no infinity
        return found
    if isinstance(value, datetime):
        return value.isoformat()
    return dict[Any, Any](cast("Mapping[Any, Any]", value)) if isinstance(value, Mapping) else value
