"""The gates of this project: `nox` runs them all, `nox -s NAME -- ARGS` one, with extra arguments.

With `nox --no-venv` every session uses the tools of the environment that is active (`.[dev]`).
"""

from __future__ import annotations

import os
import secrets

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = [
    "lint",
    "types",
    "coverage",
    "deep",
    "docs",
    "demo",
    "bench",
    "bench-guard",
    "harness",
    "planted",
    "mutation",
    "torture",
    "openapi",
    "fuzz",
]
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.error_on_missing_interpreters = False  # tests_all skips the Pythons that are not here

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

# The rooms from `_common` to `_registry` (tests/test_layers.py): every test run must cover them completely.
CORE = "--include=trio_jobs/_*/*,trio_jobs/stores/*"
NOT_CORE = "--omit=trio_jobs/_wire/*"


SIDE_BY_SIDE = ["-n", "auto", "--dist", "loadgroup"]
PROPERTIES = ["-m", "hypothesis and not deep", "--hypothesis-profile=fresh"]


def seed(session: nox.Session) -> str:
    """Return where chance begins: another number each time, unless one of two variables is set.

    `GATES_SEED` is what `.ci/run` makes of the tree of files, so that the same code gets the same verdict.
    """
    first = os.environ.get("TRIO_JOBS_SEED") or os.environ.get("GATES_SEED") or str(secrets.randbelow(10**9))
    session.log(f"TRIO_JOBS_SEED={first} has the same again")
    return first


def install(session: nox.Session, extra: str = "") -> None:
    """Install the package with an extra, unless the active environment is used as it is."""
    if session.venv_backend != "none":
        session.install("-e", f".[{extra}]" if extra else ".")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules, ruff's format, and the Trio rules of flake8-async."""
    install(session, "lint")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("flake8")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy and pyright, both strict on the package."""
    install(session, "lint")
    session.run("mypy", *session.posargs)
    session.run("pyright", "--warnings", *session.posargs)


@nox.session
def quick(session: nox.Session) -> None:
    """What to run before a commit."""
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("python", "-m", "pytest", *SIDE_BY_SIDE, *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite on this Python."""
    install(session, "test")
    session.run("python", "-m", "pytest", *SIDE_BY_SIDE, *session.posargs)


@nox.session(python=PYTHONS)
def tests_all(session: nox.Session) -> None:
    """The test suite on every supported Python that is installed here."""
    tests(session)


@nox.session
def coverage(session: nox.Session) -> None:
    """The test suite under coverage: the core's branches must all be taken."""
    install(session, "test")
    if "SUITE_MEASURED" not in os.environ:  # as `.ci/run` does, which measures its run of the suite
        session.run("coverage", "erase")
        session.run("coverage", "run", "-m", "pytest", *SIDE_BY_SIDE, *session.posargs)
    # What only one damaged byte in thousands shows is taken by a test that looks for it long.
    session.run("coverage", "run", "-m", "pytest", "-m", "deep", "tests/stores/sqlite/test_files.py")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")
    session.run("coverage", "report", CORE, NOT_CORE, "--fail-under=100")


@nox.session
def deep(session: nox.Session) -> None:
    """The tests that take long, and each property again, with more examples, others each time."""
    install(session, "test")
    session.run("python", "-m", "pytest", *SIDE_BY_SIDE, "-m", "deep", *session.posargs)
    chance = f"--hypothesis-seed={seed(session)}"
    session.run("python", "-m", "pytest", *SIDE_BY_SIDE, *PROPERTIES, chance, *session.posargs)


@nox.session
def harness(session: nox.Session) -> None:
    """Random lives of jobs and simulated faults, others each time, at the sizes that the docs state."""
    install(session, "test")
    first = seed(session)
    session.run("python", "tests/testing/lives.py", "--seed", first, *session.posargs)
    for of, examples in (("streams", "600"), ("streams-in-a-file", "200")):
        given = ["--of", of, "--examples", examples, "--steps", "40", "--seed", first]
        session.run("python", "tests/testing/lives.py", *given, *session.posargs)
    session.run("python", "-m", "trio_jobs.testing", "--seeds", "5000", "--first", first)


@nox.session
def planted(session: nox.Session) -> None:
    """Every planted bug is caught."""
    install(session, "test")
    session.run("python", "tests/planted/hunt.py", *session.posargs)


@nox.session
def mutation(session: nox.Session) -> None:
    """Small mistakes in the dense files are noticed by their mirrored tests; `-- --all` tries every one."""
    install(session, "test")
    session.run("python", "tests/mutation/run.py", *session.posargs)


@nox.session
def torture(session: nox.Session) -> None:
    """Real processes are killed, and so is their server; each verb meets each fault; everything is checked.

    `nox -s torture -- --kills 3000` kills ten times as many, before a release.
    """
    install(session, "test")
    session.run("python", "tests/torture/run.py", *session.posargs)
    session.run("python", "tests/torture/run.py", "--store", "postgresql", *session.posargs)
    session.run("python", "tests/torture/run.py", "--stops", "100")
    session.run("python", "tests/torture/failpoints.py")


@nox.session
def openapi(session: nox.Session) -> None:
    """A real server does what its OpenAPI document says, whatever is asked of it."""
    install(session, "openapi")
    session.run("python", "tests/serving/openapi/run.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Sessions of many peers, nonsense, peers that vanish, and one that stands still for a minute."""
    install(session, "test")
    first = seed(session)
    session.run("python", "tests/serving/machine/run.py", "--seed", first)
    session.run("python", "tests/serving/fuzz.py", "--seed", first, *session.posargs)
    stalled = "tests/serving/test_stalled.py"
    session.run("python", "-m", "pytest", "-m", "deep", stalled, env={"TRIO_JOBS_STALL_SECONDS": "60"})


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation; a warning or an unresolved reference is an error."""
    install(session, "docs")
    session.run(
        "python", "-m", "sphinx", "-W", "-n", "--keep-going", "-q",
        "-b", "html", "docs", "docs/_build/html", *session.posargs,
    )  # fmt: skip


@nox.session
def demo(session: nox.Session) -> None:
    """The demo with its output in a pipe, where no terminal helps it."""
    install(session, "serve")
    output = session.run("python", "-m", "trio_jobs", "demo", *session.posargs, silent=True)
    if not output:
        session.error("the demo printed nothing")
    session.log("the demo printed:\n%s", output)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks, quickly: they run and check their own results; the numbers mean little."""
    install(session, "serve")
    for script in (["benchmarks/inprocess.py"], ["-m", "benchmarks.durable"], ["-m", "benchmarks.serving"]):
        session.run("python", *script, *(session.posargs or ["--quick"]))


@nox.session(name="bench-guard")
def bench_guard(session: nox.Session) -> None:
    """The hot path takes no more instructions than it did; valgrind counts them (`apt install valgrind`)."""
    install(session, "serve")
    session.run("python", "-m", "benchmarks.guard", *session.posargs)
