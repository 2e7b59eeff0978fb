"""Limits: what a record takes, and how the limits of a handler are named and checked."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trio_jobs._model.limits import Limit, check_limits, check_shared, limits_of


@pytest.mark.parametrize(
    ("given", "error", "complaint"),
    [
        ({}, ValueError, "needs at_once, per_second or waiting"),
        ({"keyed": True}, ValueError, "needs at_once, per_second or waiting"),
        ({"at_once": 0}, ValueError, "at_once must be at least 1; got 0"),
        ({"at_once": 1.5}, TypeError, "at_once takes a whole number"),
        ({"at_once": True}, TypeError, "at_once takes a number"),
        ({"waiting": 0}, ValueError, "waiting must be at least 1; got 0"),
        ({"per_second": 0}, ValueError, "per_second must be at least 1e-06 and at most 100000; got 0"),
        ({"per_second": -1}, ValueError, "per_second must be at least 1e-06"),
        ({"per_second": math.inf}, ValueError, "per_second must be at least 1e-06"),
        ({"per_second": math.nan}, ValueError, "per_second must be at least 1e-06"),
        ({"per_second": "10"}, TypeError, "per_second takes a number; got '10'"),
        ({"per_second": 1, "burst": 0}, ValueError, "burst must be at least 1; got 0"),
        ({"at_once": 1, "burst": 2}, ValueError, "burst needs per_second"),
        ({"at_once": 1, "keyed": "user"}, TypeError, "keyed takes True or False; got 'user'"),
    ],
)
def test_what_a_limit_refuses(given: dict[str, Any], error: type[Exception], complaint: str) -> None:
    """A number out of range, of a wrong type, or that limits nothing is refused by name."""
    with pytest.raises(error, match=complaint):
        Limit(**given)


@pytest.mark.parametrize(
    ("per_second", "burst", "most"),
    [(0.001, None, 1), (1, None, 1), (1.5, None, 2), (10, None, 10), (10, 3, 3), (100_000, None, 100_000)],
)
def test_how_many_start_at_one_moment(per_second: float, burst: int | None, most: int) -> None:
    """It is `burst`; by default `per_second` rounded up, and at least one."""
    assert Limit(per_second=per_second, burst=burst).most == most


@pytest.mark.parametrize(
    ("given", "error", "complaint"),
    [
        ("gpu", TypeError, "takes a list of names and Limit records; got 'gpu'"),
        (Limit(at_once=1), TypeError, "takes a list of names and Limit records; got Limit"),
        (5, TypeError, "takes a list of names and Limit records; got 5"),
        ([5], TypeError, "takes names and Limit records, such as .*; got 5"),
        (["gpu", "net", "gpu"], ValueError, "names one limit twice: 'gpu', 'net', 'gpu'"),
        ([""], ValueError, "has 1 to 100 characters"),
        (["x" * 101], ValueError, "has 1 to 100 characters"),
        (["x[0]"], ValueError, r"does not end with '\]'"),
        ([Limit(at_once=1, keyed=True), Limit(per_second=1, keyed=True)], ValueError, "one keyed limit"),
    ],
)
def test_what_a_handler_refuses(given: object, error: type[Exception], complaint: str) -> None:
    """Limits are a list of names and records, each once, and of these at most one is keyed."""
    with pytest.raises(error, match=complaint):
        check_limits(given)


def test_what_a_handler_takes() -> None:
    """Any number of names and records, in any iterable."""
    one, keyed = Limit(at_once=1), Limit(at_once=2, keyed=True)
    assert check_limits(["gpu", one, keyed, one]) == ("gpu", one, keyed, one)
    assert check_limits({"gpu": 1}) == ("gpu",)
    assert check_limits(()) == ()


@pytest.mark.parametrize(
    ("given", "error", "complaint"),
    [
        (Limit(at_once=1), TypeError, r"takes Limit records by name, as in \{'gpu': Limit\(at_once=4\)\}"),
        ({5: Limit(at_once=1)}, TypeError, "the name of a limit takes a str; got 5"),
        ({"": Limit(at_once=1)}, ValueError, "has 1 to 100 characters"),
        ({"gpu": 4}, TypeError, r"limits\['gpu'\] takes a Limit record; got 4"),
        ({"gpu": Limit(at_once=1, keyed=True)}, ValueError, r"limits\['gpu'\] is keyed"),
    ],
)
def test_what_shared_limits_refuse(given: object, error: type[Exception], complaint: str) -> None:
    """Shared limits are records by name, and none is keyed."""
    with pytest.raises(error, match=complaint):
        check_shared(given)


def test_the_limits_of_a_handler_have_names() -> None:
    """A shared one has its own; the others have that of the handler and their place."""
    shared = check_shared({"gpu": Limit(at_once=4), "net": Limit(per_second=5)})
    mine = Limit(at_once=1, keyed=True)
    assert limits_of("ask", ["gpu", mine], shared) == {"gpu": Limit(at_once=4), "ask[1]": mine}
    with pytest.raises(ValueError, match=r"handler 'ask' has the limit 'cpu', .* open_registry\(limits="):
        limits_of("ask", ["cpu"], shared)
