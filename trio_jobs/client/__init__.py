"""Use the jobs of a server as if they were here: `async with connect(url) as jobs`.

The files in the order in which they tell the story:

    errors, address, backoff        the errors, where the server is, when to connect again
    requests                        the requests, checked
    subscription, request_table     all requests that are open: no I/O, no clock, no tasks
    socket, link                    one connection, and the tasks that keep it
    inputs, values, jobs            inputs in order; large values; one job and its log, for its handles
    registry, connect               the jobs of a server, as a registry has those of the process
"""

import warnings
from typing import TYPE_CHECKING

try:
    from .connect import connect
except ModuleNotFoundError as _error:
    raise ImportError(
        f"trio_jobs.client needs the extra: pip install 'trio-jobs[client]' ({_error})"
    ) from _error
from .._watching.handle import JobHandle
from .errors import Disconnected, ServerError
from .registry import RemoteRegistry

__all__ = ["Disconnected", "RemoteRegistry", "ServerError", "connect"]

for _public in map(globals().get, __all__):
    _public.__module__ = __name__


if TYPE_CHECKING:
    RemoteHandle = JobHandle
else:

    def __getattr__(name: str) -> type[JobHandle]:
        if name == "RemoteHandle":
            warnings.warn("RemoteHandle is trio_jobs.JobHandle now", DeprecationWarning, stacklevel=2)
            return JobHandle
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
