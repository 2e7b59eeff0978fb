"""How many private names tests use: none of them can change without a test."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = "trio_jobs"

# At most as many as there were when this was counted. The tests that mirror a private module import what they
# test; whatever else tests need of the inside is in a module that they share, such as `inside.py`.
MOST_IMPORTS = 71
MOST_ATTRIBUTES = 50

OWN = {"self", "cls", "super()"}

# Public, though they begin as private names do.
PUBLIC = {"_asdict", "_exit", "_fields", "_replace"}


def is_private(name: str) -> bool:
    """Return whether a name begins with one underscore, and is not public all the same."""
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def imports(tree: ast.AST) -> Iterator[int]:
    """Yield the line of each import of a private module, or a private name, of the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        dotted = [name.split(".") for name in found]
        if any(top == PACKAGE and any(map(is_private, parts)) for top, *parts in dotted):
            yield node.lineno


def attributes(tree: ast.AST) -> Iterator[int]:
    """Yield the line of each private attribute of an object that is not of the class at hand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) not in OWN:
            yield node.lineno


@pytest.mark.parametrize(("find", "most"), [(imports, MOST_IMPORTS), (attributes, MOST_ATTRIBUTES)])
def test_few_private_names_are_used(find: Callable[[ast.AST], Iterator[int]], most: int) -> None:
    """There are no more than the bound; new tests use a public name, or an existing helper."""
    found = [
        f"{path.relative_to(TESTS.parent)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in find(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert len(found) <= most, "\n".join([f"{len(found)}, more than {most}:", *found])


def test_the_counts_see_private_names() -> None:
    """Each spelling of an import and of an access counts, and public names do not."""
    source = """
import trio_jobs._model.job
from trio_jobs._json import values
from trio_jobs.stores import _queue, memory
from trio_jobs.stores.memory import MemoryStore
from trio_jobs import __version__
self._own = cls._own + super()._own
one._part._of.it = self.other._part + two.__class__ + os._exit(0)
"""
    assert [*imports(ast.parse(source))] == [2, 3, 4]
    assert [*attributes(ast.parse(source))] == [8, 8, 8]
