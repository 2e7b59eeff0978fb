"""One worker's view of a store that several workers share, and how that view breaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import trio

from .._common.errors import StoreUnavailable
from .._common.states import Reason
from ..stores.contract import Store
from ..stores.limits import KeepsLimits
from ..stores.pauses import KeepsPauses
from ..stores.resubmitting import KeepsSubmissions
from ..stores.schedules import KeepsSchedules
from ..stores.services import KeepsServices

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Coroutine[Any, Any, Any])


def _carried(
    verb: Callable[Concatenate[Any, P], C], *, waits: bool = False
) -> Callable[Concatenate[Any, P], C]:
    """Return a verb of `Store` as one that a connection carries to its store."""
    name = verb.__name__

    @wraps(verb)
    async def carried(self: Connection, *args: Any, **options: Any) -> Any:
        carry = self.wait if waits else self.call
        return await carry(name, partial(getattr(self.store, name), *args, **options))

    return cast("Callable[Concatenate[Any, P], C]", carried)


class Connection:
    """A store of its own for one registry, over a store that others reach too and that outlives it.

    It does to the jobs of a `MemoryStore` what a process does to those of a database. `sever` is a crash:
    nothing that is asked through this connection takes effect any more, whatever the code on this side of
    it still does while it is torn down.

    Args:
        store: Where the jobs are. A connection does not close it.
        name: Whose it is.

    Attributes:
        store: Where the jobs are.
        name: Whose it is.
        severed: Whether `sever` was called.
    """

    durable = True

    def __init__(self, store: Store, name: str = "worker") -> None:
        self.name = name
        self.severed = False
        self.store = store
        self._closed = False
        self._waiting = set[trio.CancelScope]()

    def sever(self) -> None:
        """Let nothing through any more, either way. Every call raises `StoreUnavailable`."""
        self.severed = True
        self._release()

    def close(self, reason: Reason) -> None:  # noqa: ARG002  # nothing ends: the store lives on
        """See `Store.close`."""
        self._closed = True
        self._release()

    def _release(self) -> None:
        for scope in self._waiting:
            scope.cancel(reason="the connection is gone")

    async def call(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG002  # for subclasses
        """Carry a call to the store. Every verb that does not wait goes through here.

        Raises:
            StoreUnavailable: The connection is severed.
        """
        self._check()
        return await verb()

    async def wait(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG002  # for subclasses
        """Carry a call that waits, until there is an answer or the connection is gone.

        Raises:
            StoreUnavailable: The connection is severed.
            trio.ClosedResourceError: It is closed.
        """
        self._check()
        with trio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                return await verb()
            finally:
                self._waiting.discard(scope)
        self._check()
        raise AssertionError("only a connection that is gone cancels a wait")

    def _check(self) -> None:
        if self.severed:
            raise StoreUnavailable("the connection to the store is severed")
        if self._closed:
            raise trio.ClosedResourceError("the registry was left before the job had ended")

    submit = _carried(Store.submit)
    spawn = _carried(Store.spawn)
    claim = _carried(Store.claim)
    heartbeat = _carried(Store.heartbeat)
    append = _carried(Store.append)
    send = _carried(Store.send)
    end_inputs = _carried(Store.end_inputs)
    finish = _carried(Store.finish)
    request_cancel = _carried(Store.request_cancel)
    sweep = _carried(Store.sweep)
    get = _carried(Store.get)
    find = _carried(Store.find)
    count = _carried(Store.count)
    read = _carried(Store.read)
    history = _carried(Store.history)
    inputs = _carried(Store.inputs)
    remove = _carried(Store.remove)
    prune = _carried(Store.prune)
    follow = _carried(Store.follow, waits=True)
    ended = _carried(Store.ended, waits=True)
    due = _carried(Store.due, waits=True)
    overdue = _carried(Store.overdue, waits=True)
    cancelling = _carried(Store.cancelling, waits=True)
    listening = _carried(Store.listening, waits=True)
    limit = _carried(KeepsLimits.limit)
    pin_limit = _carried(KeepsLimits.pin_limit)
    limits = _carried(KeepsLimits.limits)
    submission = _carried(KeepsSubmissions.submission)
    claim_services = _carried(KeepsServices.claim_services)
    due_services = _carried(KeepsServices.due_services, waits=True)
    declare = _carried(KeepsSchedules.declare)
    keep_declared = _carried(KeepsSchedules.keep_declared)
    add_schedule = _carried(KeepsSchedules.add_schedule)
    remove_schedule = _carried(KeepsSchedules.remove_schedule)
    schedules = _carried(KeepsSchedules.schedules)
    pause_schedule = _carried(KeepsSchedules.pause_schedule)
    fire = _carried(KeepsSchedules.fire)
    pause_handlers = _carried(KeepsPauses.pause_handlers)
    paused_handlers = _carried(KeepsPauses.paused_handlers)
