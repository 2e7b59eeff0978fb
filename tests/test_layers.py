"""The package's shape: which module may import which, how long things are, what an import loads.

Each check is a function over a folder: it runs on the package and on planted violations alike.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

Check = Callable[[Path], list[str]]

ROOT = Path(__file__).parents[1]
PACKAGE = "trio_jobs"

# The rooms of the package, floor by floor, from the ground up. A module may import its own room and those
# that stand before it, on its own floor or below. The most specific pattern says in which room a module is.
FLOORS = [
    ["_common/*"],
    ["_model/*"],
    ["_json/*"],
    ["stores/*", "stores/sqlite/*", "stores/postgres/*"],
    ["_watching/*"],
    ["_running/*"],
    ["_registry/*"],
    ["_wire/*"],
    ["telemetry/*"],
    [
        "serving/*",
        "serving/net/*",
        "serving/websocket/*",
        "serving/http/*",
        "serving/fronts/*",
        "serving/fronts/mcp/*",
        "serving/fronts/openai/*",
        "serving/fronts/ai_sdk/*",
        "serving/server",
        "serving/__init__",
    ],
    ["client/*"],
    ["logs"],
    ["demo/*", "testing/*", "cli/*", "__init__", "__main__"],
]
ROOMS = [room for floor in FLOORS for room in floor]

MOST_LINES_IN_A_FILE = 400
MOST_LINES_IN_A_FUNCTION = 60

# What `import trio_jobs` may load: trio, attrs, and what these two depend on.
LIGHT = {"trio", "attr", "attrs", "outcome", "sniffio", "sortedcontainers", "idna"}
LIGHT_ON_WINDOWS = {"cffi", "_cffi_backend"}
# Of the standard library, what only a server, a second event loop or a worker process needs; of the package,
# what only some programs need.
HEAVY = {"asyncio", "http.server", "json", "multiprocessing", "socketserver", "sqlite3", "unittest"} | {
    f"{PACKAGE}.{name}"
    for name in (
        *("_common.loop_watch", "stores.log", "stores.memory"),
        *("_running.explaining", "_running.hooks", "_running.inbox", "_running.steps"),
        *("_model.exclusive", "_model.schedule", "_model.ticks", "_registry.schedules", "stores.schedules"),
    )
}


class Import(NamedTuple):
    """One import of one module of the package by another."""

    importer: str
    imported: str
    line: int
    for_types_only: bool


def modules(root: Path) -> dict[str, Path]:
    """Map each module's name, such as `stores/memory`, to its file."""
    package = root / PACKAGE
    return {
        path.relative_to(package).with_suffix("").as_posix(): path for path in sorted(package.rglob("*.py"))
    }


def place(name: str) -> int | None:
    """Return the place of a module's room, counted from the ground, or None if the module is in no room."""
    fitting = [(len(room), number) for number, room in enumerate(ROOMS) if fnmatch(name, room)]
    return max(fitting)[1] if fitting else None


def _is_type_checking(node: ast.If) -> bool:
    return ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _absolute(node: ast.ImportFrom, importer: str) -> str:
    """Return the dotted name of the module that a `from` statement starts from."""
    if node.level == 0:
        return node.module or ""
    here = [PACKAGE, *importer.split("/")]
    return ".".join([*here[: -node.level], *([node.module] if node.module else [])])


def _targets(node: ast.Import | ast.ImportFrom, importer: str) -> list[str]:
    """Return the dotted names that an import statement may mean, of the package and others."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    origin = _absolute(node, importer)
    return [f"{origin}.{alias.name}" for alias in node.names]


def imports(root: Path) -> list[Import]:
    """Read every import between the package's modules, anywhere in a file."""
    known = modules(root)
    found: list[Import] = []

    def own(dotted: str) -> str | None:
        top, *parts = dotted.split(".")
        if top != PACKAGE:
            return None
        # `trio_jobs._model.job.Job` is the module `_model/job`; a package is its `__init__`.
        for name in ("/".join(parts), "/".join([*parts, "__init__"])):
            if name in known:
                return name
        return own(dotted.rpartition(".")[0])

    def visit(node: ast.AST, importer: str, *, for_types_only: bool) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.extend(
                Import(importer, imported, node.lineno, for_types_only)
                for target in _targets(node, importer)
                if (imported := own(target)) is not None and imported != importer
            )
        guarded = node.body if isinstance(node, ast.If) and _is_type_checking(node) else []
        for child in ast.iter_child_nodes(node):
            visit(child, importer, for_types_only=for_types_only or child in guarded)

    for name, path in known.items():
        visit(ast.parse(path.read_text(encoding="utf-8")), name, for_types_only=False)
    return found


def homeless(root: Path) -> list[str]:
    """Report the modules that are in no room."""
    return [
        f"{name}.py is in no room: move it into one whose modules it may import, or add a room to FLOORS "
        f"in tests/test_layers.py"
        for name in modules(root)
        if place(name) is None
    ]


def upward(root: Path) -> list[str]:
    """Report the imports that point up."""
    return [
        f"{one.importer}.py:{one.line} imports {one.imported}: imports point down only"
        for one in imports(root)
        if (low := place(one.importer)) is not None
        and (high := place(one.imported)) is not None
        and high > low
    ]


def hidden(root: Path) -> list[str]:
    """Report the imports of another room's private modules: those whose names begin with an underscore."""
    return [
        f"{one.importer}.py:{one.line} imports {one.imported}, which is private in its room"
        for one in imports(root)
        if place(one.importer) != place(one.imported) and re.match("_[^_]", one.imported.rpartition("/")[2])
    ]


def cycles(root: Path) -> list[str]:
    """Report a cycle among the imports that happen when the program runs."""
    graph: dict[str, set[str]] = {name: set() for name in modules(root)}
    for one in imports(root):
        if not one.for_types_only:
            graph[one.importer].add(one.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" imports ".join(reversed(error.args[1]))]
    return []


def oversized(root: Path) -> list[str]:
    """Report the files and functions that are longer than a reader takes in at once."""
    found: list[str] = []
    package = root / PACKAGE
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.js")]):
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES_IN_A_FILE:
            name = path.relative_to(package).as_posix()
            found.append(f"{name} has {lines} lines, more than {MOST_LINES_IN_A_FILE}")
    for name, path in modules(root).items():
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_LINES_IN_A_FUNCTION:
                found.append(
                    f"{name}.py:{node.lineno} {node.name} has {lines} lines, "
                    f"more than {MOST_LINES_IN_A_FUNCTION}"
                )
    return found


def slow(root: Path) -> list[str]:
    """Report the classes of attrs with slots and a cached property.

    Attrs gives such a class a `__getattr__`, with which reading any attribute takes four times as long.
    """
    return [
        f"{path.relative_to(root)}:{node.lineno} {node.name} has slots and a cached property"
        for path in modules(root).values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(
            "attrs." in (made := ast.unparse(one)) and "slots=False" not in made
            for one in node.decorator_list
        )
        and "cached_property"
        in {ast.unparse(one) for part in node.body for one in getattr(part, "decorator_list", ())}
    ]


def loaded(root: Path) -> set[str]:
    """Return the names of the modules that a fresh interpreter loads for `import trio_jobs`."""
    code = (
        f"import sys; before = set(sys.modules); import {PACKAGE}; "
        f"print(*(set(sys.modules) - before), sep='\\n')"
    )
    # With -c, Python looks for modules in the working directory first: the package is root's.
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def heavy(root: Path) -> list[str]:
    """Report what importing the package loads beyond trio, attrs and their dependencies."""
    names = loaded(root)
    light = LIGHT | sys.stdlib_module_names | {PACKAGE}
    if sys.platform == "win32":
        light = light | LIGHT_ON_WINDOWS
    foreign = {name.partition(".")[0] for name in names} - light
    return [f"import {PACKAGE} loads {name}" for name in sorted(foreign | names & HEAVY)]


@pytest.mark.parametrize("check", [homeless, upward, hidden, cycles, oversized, slow, heavy])
def test_the_package_keeps_its_shape(check: Check) -> None:
    """Each module has a room, imports point down to public modules, no cycle, nothing long, slow or heavy."""
    found = check(ROOT)
    assert not found, "\n".join(found)


def test_every_room_is_there() -> None:
    """Each pattern is of a room that has modules."""
    assert {place(name) for name in modules(ROOT)} == set(range(len(ROOMS)))


def test_the_checks_see_the_package() -> None:
    """The checks read real modules and real imports; an empty folder would pass them all."""
    assert {"__init__", "_common/errors", "_model/job", "stores/memory"} <= modules(ROOT).keys()
    pairs = {(one.importer, one.imported) for one in imports(ROOT)}
    assert ("_registry/registry", "_model/job") in pairs
    assert "trio" in loaded(ROOT)


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write a package of these files."""
    for name, source in {"__init__": "", **files}.items():
        path = root / PACKAGE / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return root


SOUND = {
    "_common/errors": "",
    "_common/states": "from . import errors",
    "_model/job": "if TYPE_CHECKING:\n    from .retry import Retry",
    "_model/retry": "from .job import Job",
    "stores/__init__": "",
    "stores/memory": "from .._model.job import Job\nfrom . import _row\nimport trio_jobs._common.states",
    "stores/_row": "",
    "stores/sqlite/store": "from .. import memory",
    "_registry/registry": "def late():\n    from ..stores.memory import MemoryStore",
    "serving/limits": "",
    "serving/net/ports": "from ..limits import Limits",
    "serving/server": "from .net import ports",
    "__init__": "from trio_jobs._registry.registry import open_registry\nfrom . import stores",
}


@pytest.mark.parametrize("check", [homeless, upward, hidden, cycles, oversized])
def test_a_sound_package_passes(check: Check, tmp_path: Path) -> None:
    """Imports down and within a room, in every spelling, and a cycle for types only, are accepted."""
    assert check(plant(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("check", "files", "complaint"),
    [
        pytest.param(homeless, {"_new": ""}, "_new.py is in no room", id="new module"),
        pytest.param(homeless, {"a/b/_new": ""}, "a/b/_new.py is in no", id="nested new module"),
        pytest.param(
            upward,
            {"_common/errors": "\nfrom .._model.job import Job", "_model/job": ""},
            "_common/errors.py:2 imports _model/job",
            id="relative",
        ),
        pytest.param(
            upward,
            {"_common/errors": "from .._model import job", "_model/job": ""},
            "_common/errors.py:1 imports _model/job",
            id="from the package",
        ),
        pytest.param(
            upward,
            {"_common/errors": "import trio_jobs._model.job as job", "_model/job": ""},
            "_common/errors.py:1 imports _model/job",
            id="absolute",
        ),
        pytest.param(
            upward,
            {"stores/memory": "from .._running.worker import Worker", "_running/worker": ""},
            "stores/memory.py:1 imports _running/worker",
            id="from a public room",
        ),
        pytest.param(
            upward,
            {"_json/values": "from ..stores import memory", "stores/__init__": "", "stores/memory": ""},
            "_json/values.py:1 imports stores/memory",
            id="into a public room",
        ),
        pytest.param(
            upward,
            {"stores/contract": "from .sqlite import store", "stores/sqlite/store": ""},
            "stores/contract.py:1 imports stores/sqlite/store",
            id="into an inner room",
        ),
        pytest.param(
            upward,
            {"serving/http/app": "from ..server import serve_http", "serving/server": ""},
            "serving/http/app.py:1 imports serving/server",
            id="to a module above",
        ),
        pytest.param(
            upward,
            {"_model/job": "from .. import open_registry"},
            "_model/job.py:1 imports __init__",
            id="a public name",
        ),
        pytest.param(
            upward,
            {"_common/errors": "def late():\n    from .._model import job", "_model/job": ""},
            "_common/errors.py:2 imports _model/job",
            id="inside a function",
        ),
        pytest.param(
            upward,
            {
                "_common/errors": "if typing.TYPE_CHECKING:\n    from .._model.job import Job",
                "_model/job": "",
            },
            "_common/errors.py:2 imports _model/job",
            id="for types only",
        ),
        pytest.param(
            hidden,
            {"_watching/cursor": "from ..stores._log import Log", "stores/_log": ""},
            "_watching/cursor.py:1 imports stores/_log, which is private",
            id="a private module of another room",
        ),
        pytest.param(
            cycles,
            {"_model/job": "from . import retry", "_model/retry": "from . import job"},
            "_model/job imports _model/retry imports|_model/retry imports _model/job imports",
            id="cycle",
        ),
        pytest.param(
            cycles,
            {
                "_model/job": "if TYPE_CHECKING:\n  x\nelse:\n  from . import retry",
                "_model/retry": "def late():\n  from . import job",
            },
            "imports",
            id="cycle through an else and a function",
        ),
        pytest.param(
            oversized,
            {"_model/job": "x = 1\n" * (MOST_LINES_IN_A_FILE + 1)},
            "_model/job.py has 401 lines, more than 400",
            id="long file",
        ),
        pytest.param(
            oversized,
            {"_model/job": "class C:\n  async def f():\n" + "    x\n" * MOST_LINES_IN_A_FUNCTION},
            "_model/job.py:2 f has 61 lines, more than 60",
            id="long function",
        ),
        pytest.param(
            slow,
            {"_model/job": "@attrs.define\nclass Job:\n    @cached_property\n    def size(self): ...\n"},
            "job.py:2 Job has slots",
            id="cached property with slots",
        ),
        pytest.param(heavy, {"__init__": "import rich"}, "loads rich", id="an extra"),
        pytest.param(heavy, {"__init__": "import pytest"}, "loads pytest", id="a test tool"),
        pytest.param(heavy, {"__init__": "import asyncio"}, "loads asyncio", id="another loop"),
    ],
)
def test_a_planted_violation_is_found(
    check: Check, files: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    """Each check finds its violation, and names the place."""
    found = check(plant(tmp_path, files))
    assert any(wanted in line for line in found for wanted in complaint.split("|")), found


def test_the_sizes_allowed_are_allowed(tmp_path: Path) -> None:
    """A file and a function of exactly the greatest size pass."""
    body = "    x\n" * (MOST_LINES_IN_A_FUNCTION - 1)
    files = {"_model/job": "x\n" * MOST_LINES_IN_A_FILE, "_model/retry": f"def f():\n{body}"}
    assert oversized(plant(tmp_path, files)) == []


def test_public_names_and_rooms_in_any_order() -> None:
    """Every module can be imported once every public name was used, which gives what it names its module."""
    names = sorted(name.replace("/", ".").removesuffix(".__init__") for name in modules(ROOT))
    rooms = ", ".join(f"{PACKAGE}.{name}" for name in names if name not in {"__init__", "__main__"})
    code = f"import {PACKAGE}; [getattr({PACKAGE}, name) for name in {PACKAGE}.__all__]; import {rooms}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
