"""What the programs of a `StoreMachine` are drawn from."""

from __future__ import annotations

from hypothesis import strategies as st

from .._common.states import Reason, State
from .._model.job import Kind, Priority
from ..stores.contract import Outcome, Where
from .checks.kit import cancelled, completed, failed, retried

# Time moves in even steps and everything else lasts an odd number of seconds, so nothing ever happens just
# when it is due. A tick after each step makes every rank a different one.
STEPS = st.sampled_from([2.0, 4.0, 30.0])
DELAYS = st.sampled_from([0.0, 0.0, 0.0, 3.0, 31.0])
LEASES = st.sampled_from([5.0, 1001.0])

VALUES = st.sampled_from([0, "a", "", "[DONE]", "\n", None, {"a": [None, 1.5]}])
KINDS = st.sampled_from([Kind.TOKEN, Kind.TOKEN, Kind.PROGRESS, Kind.SAVED])
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(completed, VALUES),
    st.builds(failed),
    st.builds(cancelled),
    st.builds(retried, st.sampled_from([Reason.ERROR, Reason.SHUTDOWN, Reason.SNOOZED]), DELAYS),
)
CALLS = st.lists(
    st.tuples(st.sampled_from([None, None, "k", "l"]), st.integers(0, 1), st.sampled_from(Priority)),
    min_size=1,
    max_size=3,
)
OPTIONS = st.fixed_dictionaries({"delay": DELAYS, "owner": st.sampled_from([None, None, "me"])})
WRITES = st.tuples(KINDS, st.lists(VALUES, min_size=1, max_size=3))
SLOTS = st.tuples(st.sampled_from([2, 1, 0]), LEASES)


LINES = st.integers(0, 1)
WAITING = frozenset({State.QUEUED, State.RETRYING})
IDS: st.SearchStrategy[str] = st.runner().flatmap(lambda machine: st.sampled_from(machine.ids()))
ATTEMPTS: st.SearchStrategy[tuple[str, int]] = st.runner().flatmap(
    lambda machine: st.sampled_from(machine.attempts())
)
WHERES = st.builds(
    Where,
    states=st.none() | st.sets(st.sampled_from(State)),
    tags=st.sampled_from([None, {"a": "0"}, {"a": "1"}]),
    handler=st.sampled_from([None, None, "work", "other_work"]),
    owner=st.sampled_from([None, None, "me"]),
)
MESSAGES = st.sampled_from([None, "tired", "bored"])
GRACES = st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=2)
