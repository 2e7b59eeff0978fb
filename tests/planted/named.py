"""Bugs of arguments that are given by name."""

from __future__ import annotations

from tests.planted.bug import Bug

NAMED = [
    Bug(
        "arguments by name are not compared under a key",
        "a second report, in another language, is not written: its key gives the first one",
        "stores/_row.py",
        "[*one.args, one.kwargs, given.metadata], [*other.args, other.kwargs, before.metadata]",
        "[*one.args, given.metadata], [*other.args, before.metadata]",
        "store",
    ),
    Bug(
        "a file forgets arguments by name",
        "a report that was to be in French comes in English",
        "stores/rows.py",
        "values, given, key, kwargs=named)",
        "values, given, key)",
        "file",
    ),
    Bug(
        "a file keeps arguments by name in the order in which they came",
        "the same job under the same key is a conflict, as its arguments come in another order",
        "_json/arguments.py",
        "for name in sorted(kwargs)",
        "for name in kwargs",
        "file",
    ),
]
