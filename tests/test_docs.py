"""The documentation is true: its programs run, and print what the page says they print.

The Python blocks of a page run in order, in one namespace, as somebody would who types them in. A block
that waits does so in virtual time. Two kinds of block cannot run like that and run in an interpreter of
their own, in real time: a program that says `if __name__ == "__main__"`, because it starts processes or
handles signals, and a block of tests, which pytest runs.

A `text` block that follows a Python block is what that prints; `…` in it stands for any text. A block
that prints, and shows nothing, is an error as well. Blocks that begin with a comment like
`# my_store.py` make up a file, which the tests of the page may import.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
import trio
from trio.testing import MockClock

import trio_jobs
from trio_jobs.stores.postgres.opening import migrated

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if not {"_build", "node_modules"} & {*page.parts}),
]

# Their programs take more than two seconds.
SLOW = {
    "writing-a-store",
    "testing",
    "testing/job-machine",
    "testing/pytest",
    "testing/trio-machine",
    "howto/cpu-bound",
    "howto/mcp",
    "howto/openai",
    "howto/serving",
    "troubleshooting",
}

# Their programs and SQL have this address, in place of which they get the one of a real database.
POSTGRES = {"many-machines", "operating-postgres"}
ADDRESS = "postgresql://jobs@db/shop"

_FENCE = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")  # a block that begins so is a part of that file
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")
_DIRECTIVE = re.compile(r"^\.\. auto\w+:: ([\w.]+)", re.MULTILINE)


def name_of(page: Path) -> str:
    """Return a page's place in the documentation, or in the project, without its ending."""
    return str(page.relative_to(DOCS if DOCS in page.parents else ROOT).with_suffix(""))


class Snippet(NamedTuple):
    """A Python block of a page."""

    line: int
    code: str
    shows: str

    @property
    def is_tests(self) -> bool:
        """Whether the block has tests."""
        return re.search(r"^(async )?def test_", self.code, re.MULTILINE) is not None

    @property
    def is_program(self) -> bool:
        """Whether the block is a program that needs a process of its own."""
        return "__main__" in self.code


def snippets(page: str) -> list[Snippet]:
    """Return the Python blocks of a page, each with the output that the page shows for it."""
    found: list[Snippet] = []
    fences = list(_FENCE.finditer(page))
    for fence, following in zip_longest(fences, fences[1:]):
        if fence[2].strip() != "python":
            continue
        shows = following[3] if following is not None and following[2].strip() == "text" else ""
        found.append(Snippet(page.count("\n", 0, fence.start(3)), fence[3], shows))
    return found


def matches(shown: str, printed: str) -> bool:
    """Return whether the output is a page's text, in which `…` stands for anything."""
    pattern = ".*?".join(map(re.escape, shown.strip().split("…")))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def run_here(snippet: Snippet, page: Path, namespace: dict[str, Any]) -> None:
    """Run a block in the page's namespace, with the page's own line numbers in tracebacks."""
    code = compile("\n" * snippet.line + snippet.code, str(page), "exec", dont_inherit=True)
    exec(code, namespace)  # noqa: S102  # our own documentation


def run_apart(snippet: Snippet, folder: Path) -> str:
    """Run a block in an interpreter of its own, and return what it prints; of tests, nothing."""
    file = folder / f"test_line_{snippet.line}.py"
    file.write_text(snippet.code, encoding="utf-8")
    command = [sys.executable, "-W", "error", str(file)]
    if snippet.is_tests:
        options = ["-W", "error", "-p", "no:cacheprovider", "-o", "trio_mode=true", "--rootdir", str(folder)]
        command = [sys.executable, "-m", "pytest", "-q", *options, str(file)]
    # This one is made to hang by a snippet that hangs, and by nothing else.
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return "" if snippet.is_tests else done.stdout


def run_in_virtual_time(main: Callable[..., Awaitable[Any]], *args: Any, clock: Any = None) -> Any:
    """Do what `trio.run` does, on a clock that jumps to the next deadline when everything waits."""
    return REAL_RUN(main, *args, clock=clock or MockClock(autojump_threshold=0))


REAL_RUN = trio.run


def may_be_slow(page: Path) -> Any:
    """Return a page as a parameter of a test that runs its programs."""
    return pytest.param(page, marks=[pytest.mark.deep] * (name_of(page) in SLOW))


@pytest.mark.parametrize("page", [may_be_slow(page) for page in PAGES], ids=name_of)
def test_the_programs_of_a_page_print_what_it_shows(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """Every Python block of the page runs, and prints exactly the text block below it, or nothing."""
    monkeypatch.setattr(trio, "run", run_in_virtual_time)
    namespace: dict[str, Any] = {"__name__": page.stem}
    text = page.read_text(encoding="utf-8")
    if name_of(page) in POSTGRES:
        text = text.replace(ADDRESS, request.getfixturevalue("postgres_url"))
    for snippet in snippets(text):
        if (named := _FILE.match(snippet.code)) is not None:
            with (tmp_path / named[1]).open("a", encoding="utf-8") as file:
                file.write(snippet.code)
            printed = ""
        elif snippet.is_program or snippet.is_tests:
            printed = run_apart(snippet, tmp_path)
        else:
            run_here(snippet, page, namespace)
            printed = capsys.readouterr().out
        assert matches(snippet.shows, printed), (
            f"{page.relative_to(ROOT)}, line {snippet.line}, shows\n{snippet.shows}\nbut prints\n{printed}"
        )


@pytest.mark.parametrize("name", sorted(POSTGRES))
def test_the_sql_of_a_page_runs(name: str, postgres_url: str) -> None:
    """Each statement that a page shows is understood by the server, on a schema of this version."""
    trio.run(migrated, postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as database:
        database.execute("CREATE TABLE orders (number int)")
        for _, kind, sql in _FENCE.findall((DOCS / f"{name}.md").read_text(encoding="utf-8")):
            if kind == "sql":
                database.execute(
                    "\n".join(line for line in sql.splitlines() if "CREATE ROLE" not in line)
                    .replace("jobs_app", "CURRENT_USER")
                    .encode()
                )


def test_the_snippets_are_found() -> None:
    """A block is found with its output, and the output only if it follows directly."""
    blocks = [("python", "one"), ("text", "1"), ("python", "two"), ("sh", "$"), ("text", "2")]
    page = "\nand\n".join(f"```{name}\n{body}\n```\n" for name, body in blocks)
    assert snippets(page) == [Snippet(1, "one\n", "1\n"), Snippet(11, "two\n", "")]
    assert any(snippets(page.read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("one\ntwo\n", "one\ntwo\n", True),
        ("one …, two\n", "one 1, two\n", True),
        ("one\n", "one\ntwo\n", False),
        ("a.c\n", "abc\n", False),
        ("", "one\n", False),
        ("one\n", "", False),
    ],
)
def test_output_is_compared_exactly(shown: str, printed: str, same: bool) -> None:
    """Only `…` matches other text."""
    assert matches(shown, printed) is same


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_snippet_hides(page: Path) -> None:
    """Python is always in a fence that starts its line and says `python`, so that the tests find it."""
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^[ \t>*-]+`{3,}.*$", text, re.MULTILINE) == []
    named = {fence[2].strip() for fence in _FENCE.finditer(text)}
    assert {name for name in named if name.startswith(("py", "{code"))} <= {"python"}
    assert "" not in named, "a fence says what is in it"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Every link and picture of a page that is not on the web is a file of this repository."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    links = [one or other for one, other in _LINK.findall(prose)]
    here = [link for link in links if not link.startswith(("http:", "https:", "mailto:"))]
    assert [link for link in here if not (page.parent / link).exists()] == []


def test_a_package_index_is_given_no_link_to_a_file() -> None:
    """The README of a release, which is shown where no file is beside it, links only to the web."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = _FENCE.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    for change in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(change["pattern"], change["replacement"], text)
    links = [one or other for one, other in _LINK.findall(text)]
    assert [link for link in links if not link.startswith("https:")] == []
    assert re.findall("^!.*", text, re.MULTILINE) == [], "a picture has left its description behind"
    assert "tutorial" in text


def test_the_reasons_and_kinds_are_all_told() -> None:
    """The page on the lifecycle has a row for every reason and every kind of event."""
    page = (DOCS / "lifecycle.md").read_text(encoding="utf-8")
    words = [*trio_jobs.Reason, *trio_jobs.Kind]
    assert [word for word in words if f"\n| `{word}` |" not in page] == []


def test_the_reference_has_every_public_name() -> None:
    """Each name of `__all__` has one entry, and no entry is in a private module."""
    pages = [page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")]
    own = [name.removeprefix("trio_jobs.") for page in pages for name in _DIRECTIVE.findall(page)]
    assert [name for name in own if name.startswith("_") or "._" in name] == []
    assert sorted(set(trio_jobs.__all__) - set(own)) == []
    assert len(own) == len(set(own))


@pytest.mark.parametrize("name", trio_jobs.__all__)
def test_public_names_are_documented(name: str) -> None:
    """Each public name has a docstring of its own, and so has each public method and property."""
    thing = getattr(trio_jobs, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{member}"


def test_every_page_is_reached() -> None:
    """Each page of the documentation is in a table of contents."""
    toctree = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    listed = {
        line.strip()
        for body in toctree.findall((DOCS / "index.md").read_text(encoding="utf-8"))
        for line in body.splitlines()
        if line.strip() and not line.startswith(":")
    }
    pages = set(map(name_of, PAGES[1:]))
    assert pages - {"index"} == listed


# Last, so that a draft shows all its other faults first.


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_figures_are_filled_in(page: Path) -> None:
    """No page has a placeholder for a measured figure."""
    text = page.read_text(encoding="utf-8")
    assert [number for number, line in enumerate(text.splitlines(), 1) if "FIGURES" in line] == []
