"""Each attack on both servers."""

from __future__ import annotations

from typing import cast

import pytest

from tests.serving.place import DOORS, Door


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    """Run a test with each server in turn."""
    return cast("Door", request.param)
