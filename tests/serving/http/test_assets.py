"""The files of the page, as browsers get them."""

from __future__ import annotations

import pytest
from starlette.routing import Route

from tests.serving.served import served
from trio_jobs.serving.http.assets import page_routes

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def type_of(path: str) -> str:
    return "text/html" if path == "/" else TYPES[path.rpartition(".")[2]]


async def test_each_file_is_served_under_the_policy() -> None:
    """Each file has its type, and a policy that allows nothing of another site's, and nothing inline."""
    async with served() as site:
        routes = page_routes()
        assert "/" in {route.path for route in routes}
        for route in routes:
            assert isinstance(route, Route)
            answer = await site.http.get(route.path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].partition(";")[0] == type_of(route.path)
            policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-cache"


async def test_a_file_that_is_not_there() -> None:
    """Another file is not found, and no path leads out of the page's folder."""
    async with served() as site:
        for path in ("/page/nothing.js", "/page/", "/page/..%2fassets.py", "/page/%2e%2e/assets.py"):
            answer = await site.http.get(path)
            assert answer.status_code == 404, path
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/page/index.html"])
async def test_a_server_without_the_page(path: str) -> None:
    """With `page=False` the page is not found; the jobs are."""
    async with served(page=False) as site:
        assert (await site.http.get(path)).status_code == 404
        assert (await site.http.get("/v1/jobs")).status_code == 200
