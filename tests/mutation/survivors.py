"""The list of the mutants that may live, each with its reason: `survivors.toml`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.mutation.mutants import Key

KINDS: Final = ("equivalent", "accepted")


def listed(path: Path) -> dict[Key, str]:
    """Return what is on a list, with the reasons.

    Raises:
        ValueError: An entry is none, or is there twice.
    """
    found: dict[Key, str] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("survivor", []):
        try:
            why = entry.pop("why")
            key = Key(**entry)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path.name}: {entry} needs file, function, before, after and why") from error
        if not why.startswith(tuple(f"{kind}: " for kind in KINDS)):
            raise ValueError(f"{path.name}: 'why' starts with one of {KINDS}, then says why; got {why!r}")
        if key in found:
            raise ValueError(f"{path.name}: {key} is there twice")
        found[key] = why
    return found


def entry(key: Key) -> str:
    """Return the entry of a mutant, to which a reason can be added."""
    # A text of TOML is written as one of JSON.
    fields = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in key._asdict().items()]
    return "\n".join(["[[survivor]]", *fields, 'why = ""', ""])


def stale(known: Iterable[Key], present: Iterable[Key]) -> list[Key]:
    """Return the entries that belong to no mutant of today's source."""
    here = set(present)
    return [key for key in known if key not in here]
