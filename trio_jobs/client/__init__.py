"""Use the jobs of a server as if they were here: `async with connect(url) as jobs`.

The files in the order in which they tell the story:

    errors, address, refusal, backoff   what can go wrong, where the server is, when to try again
    requests, replies                   what is asked, and what is answered
    following, conversation             all that is open: no I/O, no clock, no tasks
    socket, link                        a connection, and the tasks that keep it
    reading, handle, registry, connect  jobs, as in the process
"""

try:
    from .connect import connect
except ModuleNotFoundError as _error:
    raise ImportError(
        f"trio_jobs.client needs the extra: pip install 'trio-jobs[client]' ({_error})"
    ) from _error
from .errors import Disconnected, ServerError
from .handle import RemoteHandle
from .registry import RemoteRegistry

__all__ = ["Disconnected", "RemoteHandle", "RemoteRegistry", "ServerError", "connect"]

for _public in map(globals().get, __all__):
    _public.__module__ = __name__
