"""What a server is told is checked before it listens."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from trio_jobs.serving.options import Caller, ServerOptions, is_loopback


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
