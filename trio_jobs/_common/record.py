"""How the large records of the package are shown."""

from __future__ import annotations

from typing import Any, cast

import attrs


def show(self: object) -> str:
    """Return a record as attrs would show it. One function takes less time to import than one for each."""
    kind = cast("Any", type(self))
    fields = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in attrs.fields(kind))
    return f"{kind.__name__}({fields})"
