"""The parameters of a URL: each endpoint has its own, once, and there are no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ..._common.errors import quoted
from ..._wire.requests import BadRequest

_BY_WIRE: Final = None
PARAMETERS: Final[Mapping[tuple[str, str], frozenset[str] | None]] = {
    ("GET", "/v1/jobs"): _BY_WIRE,
    ("DELETE", "/v1/jobs/{id}"): _BY_WIRE,
    ("GET", "/v1/jobs/{id}/history"): _BY_WIRE,
    ("GET", "/v1/jobs/{id}/stream"): frozenset({"after", "policy"}),
}
"""Those of endpoints; those not named here have none. `_BY_WIRE`: a structure of the wire has them."""
_REPEATABLE: Final = frozenset({"state", "tag"})


def check_parameters(method: str, path: str, given: Iterable[tuple[str, str]]) -> None:
    """Raise `BadRequest` if a request has a parameter that its endpoint does not have, or one twice.

    Args:
        method: The method of the request.
        path: The path of its route.
        given: The parameters, by name.
    """
    known = PARAMETERS.get((method, path), frozenset())
    seen: set[str] = set()
    for name, _ in given:
        if known is not None and name not in known:
            has = f"there is {', '.join(sorted(known))}" if known else "there are none"
            raise BadRequest(f"there is no parameter {quoted(name)} here: {has}")
        if name in seen and name not in _REPEATABLE:
            raise BadRequest(f"the parameter {quoted(name)} is given twice")
        seen.add(name)
