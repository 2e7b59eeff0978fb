"""The store: the calls of all verbs."""

from __future__ import annotations

from .cancelling import CancelCalls
from .claiming import ClaimingCalls
from .going import GoingCalls
from .inputs import InputCalls
from .limits import LimitCalls
from .notices import NoticeCalls
from .schedules import ScheduleCalls
from .submitting import SubmitCalls
from .writing import WritingCalls


class PostgresStore(
    SubmitCalls,
    ClaimingCalls,
    WritingCalls,
    InputCalls,
    CancelCalls,
    GoingCalls,
    LimitCalls,
    ScheduleCalls,
    NoticeCalls,
):
    """Keeps jobs in a schema of a PostgreSQL database; `open_postgres` makes one. See `PostgresCalls`."""

    durable = True
