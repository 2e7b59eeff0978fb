"""When a failed job runs again: the bounds of each wait, and which errors are retried."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_jobs import Retry

SECONDS = st.just(0.0) | st.floats(1e-3, 1e6)
RETRIES = st.builds(Retry, initial=SECONDS, factor=st.floats(1, 1e3), maximum=SECONDS, jitter=st.floats(0, 1))


def full(retry: Retry, spent: int) -> Fraction:
    """Return the wait before jitter, in exact arithmetic."""
    grown = Fraction(retry.initial) * Fraction(retry.factor) ** (spent - 1)
    return min(Fraction(retry.maximum), grown)


@given(RETRIES, st.integers(1, 400), st.randoms(use_true_random=False))
def test_delay_is_within_its_bounds(retry: Retry, spent: int, rnd: random.Random) -> None:
    """A wait is at most `initial * factor**(n-1)` and `maximum`, and less by at most the jitter of that."""
    wanted = float(full(retry, spent))
    with patch("random.random", rnd.random):
        delay = retry.delay(spent)
    assert wanted * (1 - retry.jitter) * (1 - 1e-9) <= delay <= wanted * (1 + 1e-9)
    assert delay <= retry.maximum


@given(RETRIES, st.integers(1, 400), st.floats(0, 1, exclude_max=True))
def test_jitter_comes_after_the_cap(retry: Retry, spent: int, drawn: float) -> None:
    """Jitter is a part of the capped wait, so jobs at the cap do not wait equally long."""
    with patch("random.random", lambda: drawn):
        delay = retry.delay(spent)
    assert math.isclose(
        delay, float(full(retry, spent)) * (1 - retry.jitter * drawn), rel_tol=1e-9, abs_tol=1e-300
    )


def test_jobs_at_the_cap_are_spread() -> None:
    """A thousand jobs that failed together and reached the cap run again over half of it."""
    retry = Retry(initial=1, factor=10, maximum=60, jitter=0.5)
    delays = [retry.delay(20) for _ in range(1000)]
    assert min(delays) < 33
    assert max(delays) > 57
    assert len(set(delays)) > 990


@pytest.mark.parametrize("spent", [1, 2, 1024, 1025, 2000])
def test_no_wait_stays_no_wait(spent: int) -> None:
    """With `initial=0` every wait is 0."""
    assert Retry(initial=0, jitter=0).delay(spent) == 0
    assert Retry(initial=0, jitter=0, factor=math.inf).delay(spent) == 0


@pytest.mark.parametrize(
    "retry", [Retry(jitter=0), Retry(jitter=0, factor=2), Retry(jitter=0, factor=math.inf)]
)
def test_overflow_is_the_cap(retry: Retry) -> None:
    """A wait too long for a float is the longest wait; the first one is always `initial`."""
    assert retry.delay(2000) == retry.maximum == 60
    assert retry.delay(1) == 1


def test_the_docstrings_series() -> None:
    """Without jitter the waits are 1, 2, 4 … up to the maximum."""
    retry = Retry(jitter=0, maximum=10)
    assert [retry.delay(spent) for spent in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def is_odd(error: BaseException) -> bool:
    return str(error) == "odd"


@pytest.mark.parametrize(
    ("on", "error", "wanted"),
    [
        (Exception, ValueError(), True),
        (Exception, SystemExit(), False),
        (BaseException, SystemExit(), True),
        (OSError, TimeoutError(), True),
        (OSError, ValueError(), False),
        ((OSError, ValueError), ValueError(), True),
        ((OSError, ValueError), KeyError(), False),
        ((), ValueError(), False),
        (is_odd, ValueError("odd"), True),
        (is_odd, ValueError("even"), False),
        (lambda _: "yes", ValueError(), True),
        (lambda _: None, ValueError(), False),
    ],
)
def test_on(on: Any, error: BaseException, wanted: bool) -> None:
    """`on` may be a class, a tuple of classes or a function, and `matches` answers with a bool."""
    assert Retry(on=on).matches(error) is wanted


def test_on_is_called_only_with_errors() -> None:
    """A function in `on` is given the error itself, and what it raises comes out."""
    seen: list[BaseException] = []
    error = ValueError()
    assert not Retry(on=lambda one: bool(seen.append(one))).matches(error)  # type: ignore[func-returns-value]
    assert seen == [error]

    def broken(_: BaseException) -> bool:
        raise LookupError

    with pytest.raises(LookupError):
        Retry(on=broken).matches(error)


@pytest.mark.parametrize(
    "on", [int, "ValueError", None, (ValueError, int), (is_odd,), [ValueError], ValueError()]
)
def test_on_refuses(on: Any) -> None:
    """A value that is no exception class, no tuple of them and no function is refused by name."""
    with pytest.raises(TypeError, match="^on takes an exception class, a tuple of them, or a function"):
        Retry(on=on)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("attempts", 0, ValueError),
        ("attempts", 1.0, TypeError),
        ("initial", -1, ValueError),
        ("initial", math.inf, ValueError),
        ("factor", 0.99, ValueError),
        ("factor", math.nan, ValueError),
        ("maximum", math.inf, ValueError),
        ("maximum", -1, ValueError),
        ("jitter", 1.01, ValueError),
        ("jitter", -0.01, ValueError),
        ("jitter", True, TypeError),
    ],
)
def test_fields_refuse(field: str, value: Any, error: type[Exception]) -> None:
    """Each field has its range, and an error that names it."""
    with pytest.raises(error, match=f"^{field} "):
        Retry(**{field: value})


def test_by_default_nothing_is_retried() -> None:
    """The default allows one attempt."""
    assert Retry().attempts == 1


def test_no_bound() -> None:
    """`attempts=None` allows another attempt however many have failed; a number allows that many in all."""
    assert Retry(attempts=None).allows(10**9)
    assert [Retry(attempts=3).allows(spent) for spent in (1, 2, 3, 4)] == [True, True, False, False]
