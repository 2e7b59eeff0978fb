"""What a registry and its store are doing, for the overview of the live page.

The annotations are types, not text, as in `job.py`.
"""

from collections.abc import Mapping, Sequence

import attrs

from .._common.states import UNFINISHED, State
from .._model.job import Statistics
from .._model.limits import LimitStatus
from .._registry.gauges import gauges_of
from .._registry.inside import inside
from .._registry.registry import JobRegistry
from ..stores.contract import Where
from ..stores.limits import KeepsLimits
from ..stores.workers import KnowsWorkers, WorkerStatus


@attrs.frozen
class Overview:
    """A registry and its store at one moment, and what ended of late.

    Attributes:
        statistics: As `JobRegistry.statistics` returns them.
        last_minute: How many jobs ended in the last minute, by state; at most 10,000 are counted.
        last_hour: The same of the last hour.
        oldest_due: For how many seconds the job that is due longest has been due; 0 if none is.
        late: For how many seconds the tick of a schedule that is due longest has been due; 0 if none is.
        limits: The limits, and what is used of them.
        workers: The workers that hold jobs of the store, as far as it can tell; those without a job are not
            among them.
    """

    statistics: Statistics
    last_minute: Mapping[State, int]
    last_hour: Mapping[State, int]
    oldest_due: float
    late: float
    limits: Sequence[LimitStatus] = ()
    workers: Sequence[WorkerStatus] = ()


async def overview_of(jobs: JobRegistry) -> Overview:
    """Look the overview of a registry up; a checkpoint. Raises what `JobRegistry.statistics` raises."""
    gauges = await gauges_of(jobs)
    store, _ = inside(jobs)
    ended = frozenset(State) - UNFINISHED
    minute, hour = [dict(await store.count(Where(ended, newer_than=seconds))) for seconds in (60, 3600)]
    limits = [*await store.limits()] if isinstance(store, KeepsLimits) else []
    workers = [*await store.workers()] if isinstance(store, KnowsWorkers) else []
    return Overview(gauges.statistics, minute, hour, gauges.oldest_due, gauges.late, limits, workers)
