"""Which mutants a text has, their names, and what is not mutated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.mutants import mutants, mutants_of
from tests.mutation.targets import TARGETS

ROOT = Path(__file__).parents[2]

CHANGES = [
    ("a < b", {"a <= b", "a >= b"}),
    ("a == b", {"a != b"}),
    ("a in (b, c)", {"a not in (b, c)", "a in (c,)", "a in (b,)"}),
    ("a and b", {"(a or b)", "b", "a"}),
    ("not a", {"a"}),
    ("-a", {"a"}),
    ("a + b", {"(a - b)"}),
    ("a if b else c", {"a", "c"}),
    ("True", {"False"}),
    ("0", {"1"}),
    ("2.5", {"3.5", "1.5"}),
    ("'text'", {"''"}),
    ("'words for people'", set[str]()),
    ("f'{a}:{b}'", {"''"}),
    ("f'{a} of {b}'", set[str]()),
    ("min(a, b)", {"max(a, b)"}),
    ("a.lower()", {"a"}),
    ("f(a, b=c)", {"f(a)"}),
    ("zip(a, b, strict=True)", set[str]()),
    ("a[b:c]", {"a[:c]", "a[b:]"}),
    ("{a, b}", {"{b}", "{a}"}),
    ("{a: b}", {"{}"}),
    ("isinstance(a, (b, c))", {"isinstance(a, (c,))", "isinstance(a, (b,))"}),
    ("cast('A', b)", set[str]()),
    ("Literal['a', 'b']", set[str]()),
]


def made(source: str) -> set[str]:
    """Return the mutants of a line of a function."""
    body = "".join(f"    {line}\n" for line in source.splitlines())
    found = mutants_of("file.py", f"async def function():\n{body}")
    assert {one.key.function for one in found} <= {"function"}
    return {one.key.after for one in found}


@pytest.mark.parametrize(("before", "after"), CHANGES, ids=[before for before, _ in CHANGES])
def test_an_expression(before: str, after: set[str]) -> None:
    """Each kind of expression has exactly the mutants of its kind."""
    assert made(f"it = {before}") == {f"it = {text}" for text in after}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("f(a)", {"pass"}),
        ("await f(a)", {"pass"}),
        ("it.a = b", {"pass"}),
        ("it += b", {"pass", "it -= b"}),
        ("return a", {"return"}),
        ("return", {"pass"}),
        ("raise a", {"pass"}),
        ("del a", {"pass"}),
        ("while a: break", {"while False: break", "while a: continue", "while a: pass"}),
        ("if a: b", {"if True: b", "if False: b"}),
        ("for a in b: c", {"for a in (): c"}),
        ("it = [a for a in b if c]", {"it = [a for a in b if True]"}),
        ("try: a\nexcept b: c", {"except b: raise"}),
        ("match a:\n    case b.c: d", {"case b.c if False: d"}),
    ],
)
def test_a_statement(before: str, after: set[str]) -> None:
    """Each kind of statement is removed, or becomes its twin; a condition is always or never met."""
    assert made(before) == after


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "__slots__ = ('a', 'b')",
        "Name = TypeVar('Name', bound=a)",
        "Kind = type[int] | tuple[int, ...]",
        "Kind: TypeAlias = int | str",
        "def f(a: int = b) -> int | None: ...",
        "def __repr__(self): return f'{a}'",
        "log.warning('text', a=1)",
        "if TYPE_CHECKING:\n    a = 1 < 2",
    ],
)
def test_noise(source: str) -> None:
    """Text without effect, for type checkers, or with words for people only, is not mutated."""
    assert mutants_of("file.py", source) == []


def test_brackets_keep_what_a_mistake_means() -> None:
    """The replacement of an expression has brackets where it needs them."""
    assert made("it = a * (b + c)") == {"it = (a / (b + c))", "it = a * ((b - c))"}


def test_a_mutant_is_known_by_its_text() -> None:
    """A name does not depend on line numbers; it depends on the text, the function and the mistake."""
    source = "class A:\n    def f(self):\n        return self.a < 1\n"
    here = [one.key for one in mutants_of("file.py", source)]
    assert len({key.name for key in here}) == len(here) == 5
    assert {key.function for key in here} == {"A.f"}
    moved = [one.key for one in mutants_of("file.py", f"import a\n\n{source}")]
    assert moved == here
    assert not {key.name for key in here} & {one.key.name for one in mutants_of("other.py", source)}


def test_a_mutant_over_several_lines() -> None:
    """A mutant of a text of several lines, with letters of several bytes, has the lines that it changes."""
    source = "def f():\n    g(\n        'ä', b=1,\n    )\n"
    found = {one.key.after: one for one in mutants_of("file.py", source)}
    assert found["g('ä')"].lines == range(2, 5)
    assert found["g('ä')"].key.before == "g( 'ä', b=1, )"
    assert found["'ä', b=2,"].source == source.replace("b=1", "b=2")
    assert "-        'ä', b=1,\n+        'ä', b=2,\n" in found["'ä', b=2,"].diff()


@pytest.mark.parametrize("file", TARGETS)
def test_the_files_are_there(file: str) -> None:
    """Each file has mutants, each of them valid Python, and each of its tests exists."""
    found = mutants(file, ROOT)
    for one in found[:: max(1, len(found) // 5)]:
        compile(one.source, file, "exec", dont_inherit=True)
    assert found
    assert all((ROOT / test).exists() for test in TARGETS[file])
