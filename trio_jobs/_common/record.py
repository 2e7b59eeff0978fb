"""How the large records of the package are shown."""

from __future__ import annotations

from typing import Any

import attrs


def show(self: Any) -> str:
    """Return a record as attrs would show it. One function takes less time to import than one for each."""
    fields = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in attrs.fields(type(self)))
    return f"{type(self).__name__}({fields})"
