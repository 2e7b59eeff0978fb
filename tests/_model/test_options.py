"""Options: each is checked and kept, and the others stay as in the handler's mark."""

from __future__ import annotations

import gc
import math
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_jobs import Debounce, InvalidPayload, Priority, Retry, Timeouts
from trio_jobs._model.job import Policy
from trio_jobs._model.options import PriorityName, SpawnOptions, SubmitOptions, build, build_once
from trio_jobs.stores import Options

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
BASE = Options(
    timeouts=Timeouts(run=5, queue=6, first_token=7, idle=8),
    retry=Retry(attempts=3),
    priority=Priority.LOW,
    tags={"a": "b"},
    owner="me",
)

# What may be given, and the field and value that it becomes.
GOOD: list[tuple[str, Any, str, Any]] = [
    ("timeout", 3, "timeouts", attrs.evolve(BASE.timeouts, run=3)),
    ("timeout", math.inf, "timeouts", attrs.evolve(BASE.timeouts, run=math.inf)),
    ("timeout", None, "timeouts", attrs.evolve(BASE.timeouts, run=None)),
    ("timeouts", Timeouts(idle=1), "timeouts", Timeouts(idle=1)),
    ("retry", Retry(attempts=2), "retry", Retry(attempts=2)),
    ("priority", Priority.URGENT, "priority", Priority.URGENT),
    ("priority", 1, "priority", Priority.HIGH),
    *(("priority", name, "priority", Priority[name.upper()]) for name in get_args(PriorityName)),
    ("delay", 0, "delay", 0.0),
    ("delay", 90, "delay", 90.0),
    ("run_at", NOON, "run_at", NOON),
    ("run_at", NOON.astimezone(timezone(timedelta(hours=9))), "run_at", NOON),
    ("tags", {"user": "7"}, "tags", {"user": "7"}),
    ("tags", {}, "tags", {}),
    ("metadata", {"any": object}, "metadata", {"any": object}),
    ("metadata", MappingProxyType({"n": 1}), "metadata", {"n": 1}),
    ("owner", "you", "owner", "you"),
    ("owner", None, "owner", None),
    ("when_unread", "continue", "when_unread", "continue"),
    ("when_unread", "pause", "when_unread", "pause"),
    ("when_unread", "cancel", "when_unread", "cancel"),
    ("linger", 2, "linger", 2.0),
    ("exclusive", "chat", "exclusive", "chat"),
    ("exclusive", None, "exclusive", None),
    ("limit_key", "a", "limit_key", "a"),
    ("limit_key", "x" * 256, "limit_key", "x" * 256),
    ("limit_key", None, "limit_key", None),
]


@pytest.mark.parametrize(("name", "value", "field", "wanted"), GOOD)
def test_an_option_changes_its_field_only(name: str, value: Any, field: str, wanted: Any) -> None:
    """An option given becomes its field; what was not given stays as the mark has it."""
    assert build(BASE, {name: value}) == attrs.evolve(BASE, **{field: wanted})


@pytest.mark.parametrize("policy", get_args(Policy))
def test_a_policy_goes_with_a_name(policy: Policy) -> None:
    """`on_busy` is kept beside the name that it is for, and changes nothing else."""
    wanted = attrs.evolve(BASE, exclusive="chat", on_busy=policy)
    assert build(BASE, {"exclusive": "chat", "on_busy": policy}) == wanted


def test_a_debounce_is_a_delay() -> None:
    """With a `Debounce` the job is due after its seconds."""
    given: dict[str, Any] = {"exclusive": "chat", "on_busy": Debounce(2, 10)}
    assert build(BASE, given) == attrs.evolve(BASE, **given, delay=2)
    assert build(Options(), {"exclusive": "chat"}).on_busy == "reject"


def test_every_option_is_tested() -> None:
    """Each option of `submit` but those that are apart has a row above."""
    known = {**SubmitOptions.__annotations__, **SpawnOptions.__annotations__}
    assert {name for name, *_ in GOOD} == set(known) - {"key", "on_busy"}  # the last needs another
    assert {value for name, value, *_ in GOOD if name == "when_unread"} == {"continue", "pause", "cancel"}


def test_types_are_exact() -> None:
    """A stored option has one type, a `Priority` or a float, whatever number was given."""
    built = build(Options(), {"priority": 0, "delay": 1, "linger": True - False + 1})
    assert isinstance(built.priority, Priority)
    assert isinstance(built.delay, float)
    assert isinstance(built.linger, float)


def test_nothing_given() -> None:
    """Without options, `build` returns the mark's own record."""
    assert build(BASE, {}) is BASE


@pytest.mark.parametrize("name", ["tags", "metadata"])
def test_mappings_are_copied(name: str) -> None:
    """Changing a mapping after `submit` changes no job."""
    given: dict[str, Any] = {"a": "b"}
    built = build(Options(), {name: given})
    given["c"] = "d"
    assert getattr(built, name) == {"a": "b"}


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeout": -1}, ValueError, "timeout must be at least 0; got -1"),
    ({"timeout": math.nan}, ValueError, "timeout must be at least 0; got nan"),
    ({"timeout": "5"}, TypeError, "timeout takes a number; got '5'"),
    ({"timeout": True}, TypeError, "timeout takes a number; got True"),
    ({"timeouts": 5}, TypeError, "timeouts takes a Timeouts record; got 5"),
    ({"timeouts": None}, TypeError, "timeouts takes a Timeouts record; got None"),
    ({"retry": 3}, TypeError, "retry takes a Retry record, such as Retry(attempts=3); got 3"),
    (
        {"priority": 4},
        ValueError,
        "priority must be one of 'urgent' (0), 'high' (1), 'normal' (2), 'low' (3); got 4",
    ),
    (
        {"priority": True},
        ValueError,
        "priority must be one of 'urgent' (0), 'high' (1), 'normal' (2), 'low' (3); got True",
    ),
    (
        {"priority": "soon"},
        ValueError,
        "priority must be one of 'urgent' (0), 'high' (1), 'normal' (2), 'low' (3); got 'soon'",
    ),
    (
        {"priority": -1},
        ValueError,
        "priority must be one of 'urgent' (0), 'high' (1), 'normal' (2), 'low' (3); got -1",
    ),
    ({"delay": -1}, ValueError, "delay must be at least 0; got -1"),
    ({"delay": math.inf}, ValueError, "delay must be finite; got inf"),
    ({"delay": None}, TypeError, "delay takes a number; got None"),
    ({"linger": math.inf}, ValueError, "linger must be finite; got inf"),
    ({"run_at": "noon"}, TypeError, "run_at takes a datetime; got 'noon'"),
    (
        {"run_at": NOON.replace(tzinfo=None)},
        ValueError,
        "run_at must know its time zone, as datetime.now(UTC) does; got 2030-01-01T12:00:00",
    ),
    ({"tags": {"user": 7}}, TypeError, "tags['user'] takes a str; got 7"),
    ({"tags": "user"}, TypeError, "tags takes a mapping such as {'user': '7'}; got 'user'"),
    ({"metadata": [1]}, TypeError, "metadata takes a mapping with str names; got [1]"),
    ({"metadata": {1: 2}}, TypeError, "metadata takes a mapping with str names; got {1: 2}"),
    ({"owner": 7}, TypeError, "owner takes a str; got 7"),
    ({"owner": "\0"}, InvalidPayload, "owner holds NUL or a lone surrogate: '\\x00'; remove it"),
    (
        {"when_unread": "stop"},
        ValueError,
        "when_unread must be one of 'continue', 'pause', 'cancel'; got 'stop'",
    ),
    ({"timeout": 1, "timeouts": Timeouts()}, ValueError, "give timeout or timeouts, not both"),
    ({"delay": 0, "run_at": NOON}, ValueError, "give delay or run_at, not both"),
    ({"timout": 1}, TypeError, "there is no option 'timout'; did you mean 'timeout'?"),
    ({"tag": {}}, TypeError, "there is no option 'tag'; did you mean 'tags'?"),
    ({"keys": "k"}, TypeError, "there is no option 'keys'; did you mean 'key'?"),
    ({"zzz": 1}, TypeError, "there is no option 'zzz'"),
]


@pytest.mark.parametrize(
    ("given", "error", "said"), BAD, ids=[f"{n}-{min(row[0])}" for n, row in enumerate(BAD)]
)
def test_refused(given: dict[str, Any], error: type[Exception], said: str) -> None:
    """A wrong option is refused; the error names it, the reason and what would be accepted."""
    with pytest.raises(error) as caught:
        build(BASE, given)
    assert type(caught.value) is error
    assert str(caught.value) == said


def test_no_timeout_beside_timeouts() -> None:
    """`timeout=None` beside `timeouts` is accepted, and changes none of the clocks."""
    clocks = Timeouts(run=5, idle=3)
    assert build(Options(), {"timeouts": clocks, "timeout": None}).timeouts == clocks
    assert build(Options(), {"timeout": None, "timeouts": clocks}).timeouts == clocks


NAMES = sorted(set(SubmitOptions.__annotations__) - {"key"})
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.builds(Timeouts),
    st.builds(Retry),
)


@given(st.dictionaries(st.sampled_from(NAMES), JUNK, max_size=3))
def test_junk_is_built_or_refused(given: dict[str, Any]) -> None:
    """Any input gives options or a TypeError or ValueError, and no other error."""
    try:
        built = build(Options(), given)
    except (TypeError, ValueError):
        return
    assert isinstance(built, Options)
    assert 0 <= built.delay < math.inf
    assert isinstance(built.priority, Priority)


@pytest.mark.parametrize("name", ["delay", "linger", "timeout"])
def test_a_number_too_large_for_a_float(name: str) -> None:
    """An int that no float can hold is out of range, and no `OverflowError`."""
    with pytest.raises(ValueError, match=f"^{name} "):
        build(Options(), {name: 10**400})


def test_what_was_given_before_is_built_once() -> None:
    """The same plain values give the same record; equal values of other types or another base do not."""
    first = build_once(BASE, {"timeout": 3.0, "owner": "you"})
    assert first == build(BASE, {"timeout": 3.0, "owner": "you"})
    assert build_once(BASE, {"timeout": 3.0, "owner": "you"}) is first
    assert build_once(Options(), {"timeout": 3.0, "owner": "you"}) == build(
        Options(), {"timeout": 3.0, "owner": "you"}
    )
    assert type(build_once(BASE, {"timeout": 3, "owner": "you"}).timeouts.run) is int
    assert build_once(BASE, {}) is BASE


@pytest.mark.parametrize("name", ["tags", "metadata"])
def test_a_mapping_is_looked_at_each_time(name: str) -> None:
    """A change that the caller makes between two submits counts for the second."""
    mapping = {"a": "1"}
    before = build_once(BASE, {name: mapping})
    mapping["a"] = "2"
    assert getattr(before, name) == {"a": "1"}
    assert getattr(build_once(BASE, {name: mapping}), name) == {"a": "2"}


def test_a_wrong_value_is_refused_each_time() -> None:
    """A wrong value is refused with or without a hash, also after an equal value was accepted."""
    build_once(BASE, {"timeout": 1})
    for _ in range(2):
        for wrong in ([1], "1", True):
            with pytest.raises(TypeError, match="timeout"):
                build_once(BASE, {"timeout": wrong})


def test_built_options_are_kept_within_bounds() -> None:
    """At most a thousand records are kept for reuse."""
    for n in range(1001):
        build_once(BASE, {"owner": f"owner {n}"})
    gc.collect()
    kept = [
        one for one in gc.get_objects() if isinstance(one, Options) and str(one.owner).startswith("owner ")
    ]
    assert 1 <= len(kept) <= 1000
