"""What a `JobMachine` draws: what handlers do, the options of jobs, how clients read, and what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from hypothesis import strategies as st

from .._common.states import State
from .._model.exclusive import Debounce
from .._model.job import Timeouts
from .._model.retry import Retry
from .._registry.filter import Filter
from .._watching.readers import Policy
from ._client import Pace
from ._scripted import LISTENING, STEPS, Step

POLICIES: tuple[Policy, ...] = ("gap", "block")
PACES = st.builds(
    Pace,
    policy=st.sampled_from(POLICIES),
    seconds=st.sampled_from([0.0, 0.0, 1.0]),
    most=st.sampled_from([inf, 1, 3]),
)


def _steps(table: Mapping[str, Sequence[Any]]) -> list[st.SearchStrategy[Step]]:
    return [st.tuples(st.just(what), st.sampled_from(amounts)) for what, amounts in table.items()]


_STEP = st.one_of(
    st.just(("tidy", 25.0)),  # more often: what is left then is not over yet
    *_steps(STEPS),
)
LISTS = st.lists(_STEP, max_size=5)
HEARING = st.lists(st.one_of(*_steps(LISTENING), *_steps(LISTENING), _STEP), max_size=5)
INPUTS = st.integers(0, 9).map(str)
VERBS = st.sets(
    st.sampled_from(["claim", "heartbeat", "append", "finish", "spawn", "sweep", "send"]), min_size=1
)
WHERES: st.SearchStrategy[Filter] = st.sampled_from(
    [{}, {"owner": "me"}, {"tags": {"of": "the machine"}}, {"state": [State.RUNNING]}]
)
NAMED: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{"exclusive": "n", "on_busy": on_busy} for on_busy in ("reject", "attach", "after", "replace", "cancel")]
    + [{"exclusive": "n", "on_busy": Debounce(1.0, 3.0)}]
)
KEYS = st.sampled_from(["k", "l"])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "timeouts": st.builds(
            Timeouts,
            run=st.sampled_from([None, 0.0, 0.5, 2.0]),
            queue=st.sampled_from([None, 0.5]),
            first_token=st.sampled_from([None, 0.5]),
            idle=st.sampled_from([None, 1.0]),
        ),
        "retry": st.builds(
            Retry, attempts=st.integers(1, 4), initial=st.sampled_from([0.0, 1.0]), jitter=st.just(0.0)
        ),
        "priority": st.integers(0, 3),
        "delay": st.sampled_from([0.5, 2.0]),
        "tags": st.just({"of": "the machine"}),
        "metadata": st.just({"n": 1}),
        "owner": st.sampled_from(["me", "you"]),
        "when_unread": st.sampled_from(["pause", "cancel"]),
        "linger": st.sampled_from([0.0, 1.0]),
    },
)
