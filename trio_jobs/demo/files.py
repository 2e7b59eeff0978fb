"""The texts that the demo works on: the user's files, or the project's own."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import attrs

from .handlers import words

_LARGEST = 2 * 2**20
_FEWEST_WORDS = 60  # a document shorter than this makes dull reading
_MOST_DEFAULTS = 4
_LAST_RESORT = (
    "A job is an ordinary Trio function. A job runs in its own nursery, under its own cancel scope, and "
    "streams what it has to say. A reader may join late, leave, and resume where it was. A job that is "
    "cancelled has stopped, and a stream that ends quietly is complete."
)


class BadFile(Exception):
    """A file that the demo cannot use; the text is one line that names it."""


@attrs.frozen
class Source:
    """A text to work on.

    Attributes:
        name: What to call it.
        words: Its words; at least one.
    """

    name: str
    words: list[str]


def read(name: str) -> Source:
    """Read the words of a text file; of a very large one, those of its first part.

    Raises:
        BadFile: It cannot be read, or is no text.
    """
    try:
        with Path(name).open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise BadFile(f"{name or repr(name)}: {getattr(error, 'strerror', None) or error}") from None
    if not data:
        raise BadFile(f"{name}: the file is empty")
    if b"\0" in data:
        raise BadFile(f"{name}: not a text file (it holds binary data)")
    try:
        # A file that was cut may have been cut within a character.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data[:_LARGEST], len(data) <= _LARGEST)
    except UnicodeDecodeError:
        raise BadFile(f"{name}: not a text file (it is not UTF-8)") from None
    found = words(text)
    if not found:
        raise BadFile(f"{name}: there are no words in it")
    return Source(name, found)


def sources(names: Sequence[str]) -> list[Source]:
    """Return the texts of these files, or without any, of the project's own.

    Raises:
        BadFile: A file cannot be used.
    """
    if names:
        return [read(name) for name in names]
    return [*islice(_own(), _MOST_DEFAULTS)] or [Source("a text", words(_LAST_RESORT))]


def _own() -> Iterator[Source]:
    """Yield the project's documents if it is a checkout, and the package's source to make up for few."""
    package = Path(__file__).parents[1]
    root, paths = package.parent, sorted(package.glob("_*/[a-z]*.py"))
    if (root / "pyproject.toml").is_file():
        paths = [root / "README.md", *sorted((root / "docs").glob("*.md")), root / "CHANGELOG.md", *paths]
    for path in paths:
        with suppress(BadFile):
            source = attrs.evolve(read(str(path)), name=path.name)
            if len(source.words) >= _FEWEST_WORDS:
                yield source
