"""The same jobs in a browser: the live page, served while the demo runs."""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from .._registry.registry import JobRegistry
from .rows import printable

_USUAL_PORT: Final = 8000
_ANY_PORT: Final = 0
_FAREWELL: Final = 0.5  # seconds that a browser gets to be told that the demo is over


async def start_page(nursery: trio.Nursery, jobs: JobRegistry) -> str:
    """Serve the page under a nursery.

    Returns:
        A line that says where it is, or why it is not served; the demo goes on without it.
    """
    trouble: Exception | None = None
    for port in (_USUAL_PORT, _ANY_PORT):
        try:
            from ..serving import serve_http

            urls = await nursery.start(partial(serve_http, jobs, port=port, grace=_FAREWELL))
        except ImportError:
            return "Watched in a browser, too, with the extra: pip install 'trio-jobs[serve]'"
        except OSError as error:
            trouble = error
        else:
            return f"Watch it in a browser, too: {urls[0]}/"
    return printable(f"Not to be seen in a browser: {trouble}")
