"""Exceptions as text: bounded, storable in every store, and made whatever the exception does."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_jobs import ErrorRecord, Permanent
from trio_jobs._common.error_text import LIMIT, leaves, record_error, safe_text

ANY_TEXT = st.text(st.characters(exclude_categories=()))
CUT = "\n… cut …\n"


def raised(error: BaseException) -> ErrorRecord:
    """Record an exception as it is after it was raised."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001  # each kind is recorded
        return record_error(caught)


def assert_storable(record: ErrorRecord) -> None:
    """Every field is a plain `str`, valid UTF-8 without NUL, within the limit."""
    for field in (record.type, record.message, record.traceback):
        assert type(field) is str
        assert len(field.encode()) <= LIMIT
        assert "\0" not in field


@given(ANY_TEXT, st.integers(40, 200))
def test_safe_text(text: str, limit: int) -> None:
    """The result is storable and within the limit; good text that fits is not changed."""
    found = safe_text(text, limit)
    assert len(found.encode()) <= limit
    assert "\0" not in found
    json.loads(json.dumps(found))
    try:
        fits = len(text.encode()) <= limit and "\0" not in text
    except UnicodeEncodeError:
        fits = False
    if fits:
        assert found == text


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0…"), min_size=1),
    st.integers(40, 200),
)
def test_the_middle_is_cut(part: str, limit: int) -> None:
    """A text that is too long keeps its beginning and end, and has one mark where it was cut."""
    text = part * (limit // len(part.encode()) + 1)
    head, mark, tail = safe_text(text, limit).partition(CUT)
    assert mark
    assert text.startswith(head)
    assert text.endswith(tail)
    # As much as fits is kept: half each, less the mark and a character that was cut through.
    assert min(len(head.encode()), len(tail.encode())) >= limit // 2 - 12


def test_what_cannot_be_stored_is_replaced() -> None:
    """Each NUL and each lone surrogate becomes a question mark."""
    assert safe_text("a\0b\ud800c") == "a?b?c"


def test_a_record() -> None:
    """A record has the class, the text and the traceback of what was raised."""
    record = raised(ValueError("no"))
    assert (record.type, record.message) == ("ValueError", "no")
    assert record.traceback.startswith("Traceback (most recent call last):\n")
    assert "raise error" in record.traceback
    assert record.traceback.endswith("ValueError: no\n")


@given(ANY_TEXT)
def test_any_message(text: str) -> None:
    """Whatever the message holds, the record can be stored and sent."""
    assert_storable(raised(ValueError(text)))


def test_a_huge_message() -> None:
    """A message of a hundred megabytes is cut in the middle, in the traceback too."""
    record = raised(ValueError("<" + "x" * 100_000_000 + ">"))
    assert_storable(record)
    assert record.message[0] == "<"
    assert record.message[-1] == ">"
    assert record.traceback.startswith("Traceback")
    assert record.traceback.endswith(">\n")


def test_huge_messages_in_a_group() -> None:
    """Each of many large messages is cut, and so is the whole text."""
    record = raised(ExceptionGroup("g", [ValueError("x" * 100_000) for _ in range(50)]))
    assert_storable(record)
    assert record.message.startswith("50 errors: ValueError: xxx")


class Broken(Exception):
    """Raises another exception whenever its text is asked for."""

    def __init__(self, how: type[BaseException]) -> None:
        self.how = how

    def __str__(self) -> str:
        raise self.how

    __repr__ = __str__


@pytest.mark.parametrize("how", [ValueError, RecursionError, MemoryError, SystemExit, GeneratorExit])
def test_str_raises(how: type[BaseException]) -> None:
    """An exception whose `__str__` raises still has a record, which says why the text is missing."""
    record = raised(Broken(how))
    assert record.type == "Broken"
    assert record.message == f"<its text cannot be shown: {how.__name__} in __str__>"
    assert_storable(record)


def test_str_returns_no_text() -> None:
    """An exception whose `__str__` returns no text has a record too."""

    class Wrong(Exception):
        def __str__(self) -> Any:
            return 7

    record = raised(Wrong())
    assert record.message == "<its text cannot be shown: TypeError in __str__>"


def test_the_traceback_cannot_be_made() -> None:
    """If formatting fails, the record says so in place of the traceback."""

    class Notes:
        def __iter__(self) -> Any:
            raise SystemExit

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: object) -> Any:
            raise SystemExit

        def __repr__(self) -> str:
            raise SystemExit

    class Noted(Exception):
        __notes__ = Notes()  # type: ignore[assignment]  # the mistake under test

        def __getattribute__(self, name: str) -> Any:
            if name == "__cause__":
                raise SystemExit
            return super().__getattribute__(name)

    record = raised(Noted("no"))
    assert record.message == "no"
    assert_storable(record)
    assert "SystemExit" in record.traceback


def test_ctrl_c_comes_through() -> None:
    """Ctrl-C while an exception is formatted is raised, and not treated as an error of the exception."""
    with pytest.raises(KeyboardInterrupt):
        raised(Broken(KeyboardInterrupt))


def test_recursion() -> None:
    """The record of a handler that exceeded the recursion limit has a traceback that is cut."""

    def again() -> None:
        again()

    with pytest.raises(RecursionError) as caught:
        again()
    record = record_error(caught.value)
    assert record.type == "RecursionError"
    assert "recursion" in record.message
    assert_storable(record)


def test_a_chain_of_causes() -> None:
    """A long chain of causes is cut in the middle; the first and the last error are kept."""
    error: Exception = ValueError("first")
    for n in range(300):
        try:
            raise ValueError(n) from error
        except ValueError as caught:
            error = caught
    record = record_error(error)
    assert_storable(record)
    assert record.traceback.startswith("ValueError: first")
    assert record.traceback.endswith("ValueError: 299\n")
    assert CUT in record.traceback


def test_odd_names() -> None:
    """The bounds of texts hold for the type's name too."""
    long = type("E" * 100_000, (Exception,), {})
    assert_storable(raised(long("no")))
    odd = type("Odd", (Exception,), {})
    odd.__qualname__ = "Odd\ud800\0"
    assert_storable(raised(odd("no")))


def test_base_exceptions() -> None:
    """`SystemExit` and other exceptions that are no `Exception` are recorded like any other."""
    assert raised(SystemExit(3)) == raised(SystemExit(3))
    assert (raised(SystemExit(3)).type, raised(SystemExit(3)).message) == ("SystemExit", "3")


TREES = st.recursive(
    st.sampled_from([ValueError, KeyError, SystemExit]).map(lambda kind: kind("leaf")),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda some: BaseExceptionGroup("group", some)),
    max_leaves=8,
)


def flat(error: BaseException) -> list[BaseException]:
    """The leaves, by Python's own way of walking a group."""
    found: list[BaseException] = []
    if isinstance(error, BaseExceptionGroup):

        def collect(one: BaseException) -> bool:
            if not isinstance(one, BaseExceptionGroup):
                found.append(one)
            return False

        error.subgroup(collect)
        return found
    return [error]


@given(TREES)
def test_leaves(error: BaseException) -> None:
    """`leaves` yields each exception that is no group, in order; a record describes one leaf or all."""
    wanted = flat(error)
    assert list(leaves(error)) == wanted
    record = raised(error)
    assert_storable(record)
    if len(wanted) == 1:
        assert (record.type, record.message) == (type(wanted[0]).__name__, str(wanted[0]))
    else:
        assert record.type in {"ExceptionGroup", "BaseExceptionGroup"}
        each = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in wanted)
        assert record.message == f"{len(wanted)} errors: {each}"


def test_many_leaves() -> None:
    """The record of a group with many leaves has their number and the first ten."""
    record = record_error(ExceptionGroup("g", [ValueError(n) for n in range(50)]))
    assert record.message == "50 errors: " + "; ".join(f"ValueError: {n}" for n in range(10))


def test_a_deeply_nested_group() -> None:
    """A group nested deeper than Python's stack still leaves a record of its leaf."""
    error: Exception = ValueError("core")
    for _ in range(3000):
        error = cast("Exception", ExceptionGroup("g", [error]))
    record = record_error(error)
    assert (record.type, record.message) == ("ValueError", "core")
    assert_storable(record)


@pytest.mark.parametrize(
    ("wrapped", "kind", "message"),
    [
        (Permanent(ValueError("no")), "ValueError", "no"),
        (Permanent("bad input"), "Permanent", "bad input"),
        (ExceptionGroup("g", [Permanent(KeyError("k"))]), "KeyError", "'k'"),
        (Permanent(SystemExit(1)), "SystemExit", "1"),
    ],
    ids=["error", "text", "in a group", "base exception"],
)
def test_permanent(wrapped: Exception, kind: str, message: str) -> None:
    """A `Permanent` is recorded as the error that it wraps, or as itself if it has only text."""
    record = raised(wrapped)
    assert (record.type, record.message) == (kind, message)
    assert "Permanent" in record.traceback
