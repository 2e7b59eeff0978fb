"""The options of a server are checked before it listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from trio_jobs import Job
from trio_jobs.serving.options import (
    AppOptions,
    Caller,
    HttpOptions,
    ServerOptions,
    WebSocketOptions,
    is_loopback,
)


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104  # looked at
        ("::", False),
        ("192.168.1.2", False),
        ("jobs.example", False),
    ],
)
def test_binding(host: str, alone: bool) -> None:
    """Where other machines can reach it, a server without `authenticate` refuses to start."""
    assert is_loopback(host) is alone
    if alone:
        ServerOptions(host=host)
        return
    with pytest.raises(ValueError, match="give authenticate="):
        ServerOptions(host=host)

    async def authenticate(_: Mapping[str, str]) -> Caller | None:
        return None

    ServerOptions(host=host, authenticate=authenticate)


@pytest.mark.parametrize(
    ("kind", "name"), [(AppOptions, "port"), (WebSocketOptions, "page"), (HttpOptions, "prot")]
)
def test_an_option_that_a_server_has_not(kind: type, name: str) -> None:
    """An option of another kind of server, or of none, is refused; the text names those that there are."""
    with pytest.raises(TypeError, match=f"no option '{name}'; there is .*authenticate, .*origins"):
        ServerOptions.of(kind, {name: None})


async def not_plain(job: Job) -> None:
    """Be what cannot be around a stream."""


@pytest.mark.parametrize("wrap", [not_plain, "text"])
def test_what_cannot_be_around_a_stream(wrap: Any) -> None:
    """An async function, and what cannot be called, is refused before the server listens, with the fix."""
    with pytest.raises(TypeError, match=r"wrap_stream takes a plain function of a Job .*contextlib"):
        ServerOptions(wrap_stream=wrap)


def test_the_options_of_a_server_are_those_of_the_record() -> None:
    """Each option of the record is one of `serve_http`, and each that is given arrives."""
    assert HttpOptions.__optional_keys__ == {field.name for field in attrs.fields(ServerOptions)}
    assert ServerOptions.of(HttpOptions, {"port": 7, "page": False}) == ServerOptions(port=7, page=False)
