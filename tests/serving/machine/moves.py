"""The actions of peers, jobs and their environment: names of methods of `ServerMachine`, with arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hypothesis import strategies as st

from tests.serving.machine.books import EVERYBODY, OWNERS

MESSAGE, HEADER, IDLE, PING, GRACE = 1024, 5.0, 30.0, 10.0, 3.0
CAPACITY: Final = 3
BOX: Final = 3
"""How many inputs a job may have, in half of the sessions."""
DROPPED: Final = 300.0
"""Seconds after which who reads nothing has certainly been dropped."""
FAULTS: Final = 10
LAPSED: Final = 100.0
"""Seconds after which a lease has lapsed, and its job runs again."""
SMALL: Final = 4608
"""Bytes that a server may be ahead of a peer with a small buffer; no kernel takes less."""
CALLERS: Final = (*OWNERS, EVERYBODY)
STRANGERS: Final = ("nobody", "broken")
"""Who is not known, and whom the server fails to ask."""
ADDRESSES: Final = ("10.0.0.1", "10.0.0.2")
QUICK: Final = (
    *("get", "list", "find", "history", "value", "handlers", "statistics", "ping", "submit"),
    *("send", "send", "end_inputs"),
)

whos = st.sampled_from(CALLERS)
addresses = st.sampled_from(ADDRESSES)
picks = st.integers(0, 20)
jobs = st.sampled_from([0, 0, 0, 0, *range(1, 8)])
"""Mostly the same one: what many do with one job is worth more than what each does with its own."""


def _given(**of: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return the drawn arguments of a method."""
    return st.fixed_dictionaries(of)


TURNS: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "ask": _given(at=picks, op=st.sampled_from(QUICK), job=picks),
    "follow": _given(
        at=picks,
        job=jobs,
        op=st.sampled_from(["follow", "follow", "wait"]),
        after=st.sampled_from([0, 0, 1, 3]),
        window=st.sampled_from([None, 1, 3]),
        policy=st.sampled_from(["gap", "block"]),
    ),
    "say_much": _given(at=picks, job=jobs, count=st.integers(2, 5)),
    "ack": _given(at=picks, beyond=st.sampled_from([0, 0, 0, 1])),
    "unfollow": _given(at=picks, twice=st.booleans()),
    "use_an_id_twice": _given(at=picks),
    "work": _given(
        at=jobs,
        what=st.sampled_from(["tokens"] * 4 + ["save", "progress", "end", "fail"]),
        size=st.sampled_from([1, 3, 9]),
        large=st.sampled_from([0, 0, 3000, 20_000, 300_000]),
    ),
    "submit_by_name": _given(
        at=picks,
        policies=st.lists(
            st.sampled_from(
                [*("reject", "attach", "after", "replace", "cancel"), {"seconds": 2.0, "at_most": 5.0}]
            ),
            min_size=1,
            max_size=4,
        ),
        by_http=st.booleans(),
    ),
    "ask_for_what_takes_time": _given(at=picks, job=picks, more=st.integers(0, 2)),
    "look_at_a_large_value": _given(job=jobs),
    "watch_together": _given(
        job=jobs, window=st.sampled_from([None, None, 3]), large=st.sampled_from([0, 9000, 300_000])
    ),
    "look_through": _given(
        at=picks,
        where=st.sampled_from(
            [
                {},
                {"state": "running"},
                {"state": ["queued", "completed"]},
                {"handler": "act"},
                {"handler": "none"},
            ]
        ),
        of=st.sampled_from(["", "", *CALLERS]),
        limit=st.sampled_from([1, 2, 100]),
        newest=st.booleans(),
    ),
    "ask_by_http": _given(
        who=whos,
        address=addresses,
        small=st.booleans(),
        at=picks,
        again=st.booleans(),
        ops=st.lists(st.sampled_from(QUICK), min_size=1, max_size=4),
        last=st.sampled_from([None, None, "stream", "stream", "cancel"]),
        chunked=st.booleans(),
    ),
}
"""What those who are connected do, and what jobs do; and what is drawn for it."""
HAPPENINGS: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "come_by_web": _given(
        who=st.sampled_from([*CALLERS, *CALLERS, *STRANGERS]), address=addresses, small=st.booleans()
    ),
    "come_at_once": _given(who=whos, address=addresses, count=st.integers(2, 9), strange=st.integers(0, 3)),
    "upgrade_later": _given(
        who=whos,
        address=addresses,
        at=picks,
        ops=st.lists(st.sampled_from(QUICK), max_size=3),
        early=st.booleans(),
    ),
    "ask_much": _given(
        at=picks, ops=st.lists(st.sampled_from((*QUICK, "cancel")), min_size=2, max_size=12), job=picks
    ),
    "ask_and_take_nothing": _given(address=addresses),
    "talk_nonsense": _given(at=picks, count=st.integers(1, 11)),
    "send_the_most": _given(at=picks, over=st.sampled_from([0, 1, "binary"])),
    "be_refused": _given(
        address=addresses,
        case=st.sampled_from(["host", "origin", "who", "path", "method", "type", "large", "most", "version"]),
    ),
    "fail": _given(at=picks, how=st.sampled_from(["stall", "stall", "half", "leave", "reset"])),
    "go_on": _given(at=picks),
    "leave_in_the_handshake": _given(
        who=whos, address=addresses, count=st.integers(1, 3), steps=st.integers(2, 9)
    ),
    "die_at_any_byte": _given(
        who=whos,
        address=addresses,
        at=picks,
        op=st.sampled_from([*QUICK, "stream", "cancel", "follow", "wait", "upgrade"]),
        web=st.booleans(),
        cut=st.integers(0, 1200),
        waits=st.sampled_from([0.0, 0.0, HEADER + 1, 50.0]),
        read=st.booleans(),
    ),
    "time_passes": _given(seconds=st.sampled_from([1.0, HEADER + 1, IDLE + PING + 1, DROPPED])),
    "the_store_is_away": _given(
        at=picks, does_it=st.booleans(), ops=st.lists(st.sampled_from(QUICK), max_size=3), job=picks
    ),
    "the_server_stops": _given(seconds=st.sampled_from([None, None, 0.0, 1.0])),
}
"""What else happens."""
happenings = st.one_of([st.tuples(st.just(name), given) for name, given in HAPPENINGS.items()])
turns = st.lists(
    st.one_of([st.tuples(st.just(name), of) for name, of in TURNS.items()]),
    min_size=2,
    max_size=8,
)
