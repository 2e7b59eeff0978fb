"""The live page: its files, and the policy under which browsers run them."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {"content-security-policy": _POLICY, "x-frame-options": "DENY", "cache-control": "no-cache"}


def page_routes() -> list[Route]:
    """Return where the page and its files are."""
    folder = files("trio_jobs.serving") / "page"
    found = [one for one in folder.iterdir() if one.name.rpartition(".")[2] in _TYPES]
    return [
        _route("/" if one.name == "index.html" else f"/page/{one.name}", one.name, one.read_bytes())
        for one in found
    ]


def _route(path: str, name: str, data: bytes) -> Route:
    media_type = _TYPES[name.rpartition(".")[2]]

    async def asset(_: Request) -> Response:  # noqa: ASYNC124  # as Starlette has it
        return Response(data, headers=_HEADERS, media_type=media_type)

    return Route(path, asset)
