"""Which texts the demo uses, and its errors for files that it cannot use."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trio_jobs
from trio_jobs.demo import files
from trio_jobs.demo.files import BadFile, read, sources


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"  \n\t\n", "no words", id="blank"),
        pytest.param(b"--- *** ---", "no words", id="no words"),
        pytest.param(b"text\0text", "binary", id="binary"),
        pytest.param("Grüße".encode("latin-1"), "not UTF-8", id="latin-1"),
        pytest.param("one two".encode("utf-16"), "not a text file", id="utf-16"),
        pytest.param("cut ü".encode()[:-1], "not UTF-8", id="ends within a character"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    """A file that is no text is refused in one line with its name and the reason."""
    path = tmp_path / "file.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        read(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A directory is refused."""
    with pytest.raises(BadFile, match=r"directory|denied"):  # Windows denies the permission
        read(str(tmp_path))


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_an_impossible_name_is_refused(name: str) -> None:
    """A name that no file can have is refused like a bad file."""
    with pytest.raises(BadFile):
        read(name)


def test_a_byte_order_mark_is_no_word(tmp_path: Path) -> None:
    """A text that begins with a byte order mark is read without it."""
    path = tmp_path / "file.txt"
    path.write_text("one two", encoding="utf-8-sig")
    assert read(str(path)).words == ["one", "two"]


def test_a_large_file_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first part of a file that is too large is used, even if it ends within a character."""
    monkeypatch.setattr(files, "_LARGEST", 8)
    path = tmp_path / "file.txt"
    path.write_text("one zwölf drei", encoding="utf-8")
    assert read(str(path)).words == ["one", "zwö"]
    path.write_text("one  zwölf drei", encoding="utf-8")  # eight bytes end within the ö
    assert read(str(path)).words == ["one", "zw"]


def test_the_given_files_are_used(tmp_path: Path) -> None:
    """Every given file is a source, however short, in the given order."""
    for name in "ab":
        (tmp_path / name).write_text(name, encoding="utf-8")
    names = [str(tmp_path / "b"), str(tmp_path / "a")]
    assert [(source.name, source.words) for source in sources(names)] == [
        (names[0], ["b"]),
        (names[1], ["a"]),
    ]


def own_sources(root: Path) -> list[str]:
    """Return the default sources of the package that is below `root`."""
    code = "from trio_jobs.demo.files import sources; print(*(one.name for one in sources([])), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Copy the package alone to a folder, as an installation does."""
    package = Path(trio_jobs.__file__).parent
    shutil.copytree(package, tmp_path / "trio_jobs", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_an_installed_package_reads_its_own_source(installed: Path) -> None:
    """Without documents, the package's modules are the texts; another project's README beside it is not."""
    (installed / "README.md").write_text("not ours " * 100, encoding="utf-8")
    names = own_sources(installed)
    assert names
    assert all(name.endswith(".py") for name in names)


def test_a_checkout_reads_its_documents_first(installed: Path) -> None:
    """In a checkout the documents are first; one that is too short is left out."""
    (installed / "pyproject.toml").touch()
    (installed / "README.md").write_text("read me " * 100, encoding="utf-8")
    (installed / "CHANGELOG.md").write_text("short", encoding="utf-8")
    names = own_sources(installed)
    assert names[0] == "README.md"
    assert "CHANGELOG.md" not in names
    assert len(names) > 1


def test_there_is_always_a_text(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without documents and source, the demo has a text of its own."""
    monkeypatch.setattr(files, "_own", lambda: iter(()))
    (source,) = sources([])
    assert len(source.words) > 20
