"""What may meet at a job: verbs by the state that they need, as a table. `_races` lets them meet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import trio

from ..._model.job import Kind, Progress, Timeouts
from ...stores.contract import Claimant, Store, Submission, Where
from . import kit

Call: TypeAlias = Callable[[Store], Awaitable[Any]]

_MOMENT: Final = 0.001
"""Seconds of what has passed by the time that two verbs meet,"""
_SINCE: Final = 0.01
"""and how long that is waited for."""
_GONE: Final = Claimant("gone", _MOMENT)


async def let_pass() -> None:
    """Let what is to last for a moment lapse or expire."""
    await trio.sleep(_SINCE)


def _known(job_id: str, *args: object, **options: Any) -> Submission:
    return attrs.evolve(kit.make(*args, **options), id=job_id)


JOB: Final = _known("the job", "a", key="k", owner="me")
_TWIN = _known("its twin", "a", key="k", owner="me")
_OTHER = _known("the other one", "b", key="k", owner="me")
_CHILD, _SECOND = _known("the child"), _known("the second one")
_HASTY = attrs.evolve(JOB, options=attrs.evolve(JOB.options, timeouts=Timeouts(queue=_MOMENT)))
_LAST = attrs.evolve(_known("the one", owner="you"), room=1)
_TOO_MANY = attrs.evolve(_known("the one too many", owner="you"), room=1)


def _append(kind: Kind, *values: object, job: Submission = JOB, offset: int = 1) -> Call:
    return lambda store: store.append(job.id, 1, kind, values, offset)


def _submit(new: Submission, limit: int = 0, worker: Claimant = kit.HOLDER) -> Call:
    return lambda store: store.submit([new], limit, worker)


async def _wait_too_long(store: Store) -> None:
    await store.submit([_HASTY], 0, kit.HOLDER)
    while (await store.get(JOB.id)).state.over:  # it has waited for too long already
        await store.remove(JOB.id)
        await store.submit([_HASTY], 0, kit.HOLDER)


VERBS: Final[Mapping[str, Call]] = {
    "submit": _submit(JOB, 1),
    "submit again": _submit(JOB),
    "submit with its key": _submit(_TWIN),
    "submit of something else with its key": _submit(_OTHER),
    "submit of the one there is room for": _submit(_LAST),
    "submit of another one": _submit(_TOO_MANY),
    "submit and claim for a moment": _submit(JOB, 1, _GONE),
    "claim": lambda store: store.claim(1, kit.HOLDER),
    "append of a token": _append(Kind.TOKEN, "b"),
    "append of progress": _append(Kind.PROGRESS, Progress(1)),
    "append of saved": _append(Kind.SAVED, "half", "whole"),
    "append to the child": _append(Kind.TOKEN, "c", job=_CHILD, offset=0),
    "save of what was received": lambda store: store.append(JOB.id, 1, Kind.SAVED, ["half"], 1, received=4),
    "send": lambda store: store.send(JOB.id, "a", ["x"]),
    "send of other inputs": lambda store: store.send(JOB.id, "b", ["y", "z"]),
    "end_inputs": lambda store: store.end_inputs(JOB.id),
    "inputs": lambda store: store.inputs(JOB.id, 0, kit.ALL),
    "heartbeat": lambda store: store.heartbeat({JOB.id: 1}, kit.LONG),
    "heartbeat for a moment": lambda store: store.heartbeat({JOB.id: 1}, _MOMENT),
    "heartbeat for both": lambda store: store.heartbeat({JOB.id: 1, _CHILD.id: 1}, kit.LONG),
    "finish (completed)": lambda store: store.finish(JOB.id, 1, kit.completed("done")),
    "finish (failed)": lambda store: store.finish(JOB.id, 1, kit.failed()),
    "finish (awaiting)": lambda store: store.finish(JOB.id, 1, kit.awaiting()),
    "finish (retried)": lambda store: store.finish(JOB.id, 1, kit.retried()),
    "finish of the child": lambda store: store.finish(_CHILD.id, 1, kit.completed()),
    "spawn": lambda store: store.spawn(JOB.id, 1, _CHILD, kit.HOLDER),
    "spawn of a second child": lambda store: store.spawn(JOB.id, 1, _SECOND, kit.HOLDER),
    "spawn by the child": lambda store: store.spawn(_CHILD.id, 1, _SECOND, kit.HOLDER),
    "request_cancel": lambda store: store.request_cancel(JOB.id, "tired", 5.0),
    "request_cancel with less grace": lambda store: store.request_cancel(JOB.id, "bored", 2.0),
    "request_cancel of the child": lambda store: store.request_cancel(_CHILD.id, "tired"),
    "sweep": lambda store: store.sweep(),
    "remove": lambda store: store.remove(JOB.id),
    "prune": lambda store: store.prune(_MOMENT),
    "get": lambda store: store.get(JOB.id),
    "read": lambda store: store.read(JOB.id, 0, kit.ALL),
    "find": lambda store: store.find(Where(), kit.ALL),
    "count": lambda store: store.count(Where()),
}

WAITS: Final[Mapping[str, Call]] = {
    "follow": lambda store: store.follow(JOB.id, 3, kit.ALL),
    "follow from its beginning": lambda store: store.follow(JOB.id, 1, kit.ALL),
    "follow of the child": lambda store: store.follow(_CHILD.id, 2, kit.ALL),
    "ended": lambda store: store.ended(JOB.id),
    "ended, of the child": lambda store: store.ended(_CHILD.id),
    "due": lambda store: store.due(),
    "overdue": lambda store: store.overdue(),
    "cancelling": lambda store: store.cancelling({}),
    "listening": lambda store: store.listening({JOB.id: 3}),
    "cancelling, of what was not heard": lambda store: store.cancelling({JOB.id: 5.0}),
}


@attrs.frozen
class Scene:
    """A state of a store, and what may happen in it.

    Attributes:
        steps: What leads to it.
        changes: The verbs after which most is different; a quick run has each verb meet these.
        verbs: What else may happen.
        waits: Who may wait there, and for which verbs.
        passes: Whether a moment has to pass first.
    """

    steps: Sequence[Call]
    changes: Sequence[str]
    verbs: Sequence[str]
    waits: Mapping[str, Sequence[str]]
    passes: bool = False

    async def prepare(self, store: Store) -> None:
        """Lead an empty store to it."""
        for step in self.steps:
            await step(store)
        if self.passes:
            await let_pass()


_RUNS: Final = (_submit(JOB, 1), _append(Kind.TOKEN, "a", offset=0))
_ENDS: Final = ("finish (completed)", "finish (failed)")
_LOOKS: Final = ("get", "read", "find", "count")

SCENES: Final[Mapping[str, Scene]] = {
    "no job": Scene(
        (),
        ("submit", "submit of the one there is room for"),
        (
            *("submit with its key", "submit of something else with its key", "claim"),
            *("submit of another one", "find", "count"),
        ),
        {
            "due": ["submit again"],
            "overdue": ["submit and claim for a moment"],
        },
    ),
    "a job that waits": Scene(
        [_submit(JOB)],
        ("claim", "request_cancel"),
        (
            *("sweep", "remove", "submit", "submit with its key", "submit of something else with its key"),
            *_LOOKS,
        ),
        {"follow from its beginning": ["claim", "request_cancel"], "ended": ["request_cancel"]},
    ),
    "a job that waited too long": Scene(
        [_wait_too_long],
        ("claim", "request_cancel", "sweep"),
        ("get",),
        {"ended": ["sweep"], "follow from its beginning": ["sweep"]},
        passes=True,
    ),
    "a job that runs": Scene(
        _RUNS,
        ("append of a token", "finish (completed)", "request_cancel"),
        (
            *("append of progress", "append of saved", "heartbeat", "finish (failed)", "finish (retried)"),
            *("spawn", "request_cancel with less grace", "sweep", "remove", "submit with its key", *_LOOKS),
        ),
        {
            "follow": ["append of a token", "append of saved", *_ENDS, "finish (retried)", "request_cancel"],
            "ended": _ENDS,
            "due": ["finish (retried)"],
            "overdue": ["heartbeat for a moment"],
            "cancelling": ["request_cancel"],
        },
    ),
    "a job that runs and has inputs": Scene(
        [*_RUNS, VERBS["send"]],
        ("send of other inputs", "finish (awaiting)"),
        (
            *("send", "end_inputs", "save of what was received", "append of a token", "finish (completed)"),
            *("request_cancel", "inputs", "get", "read"),
        ),
        {"due": ["finish (awaiting)"]},
    ),
    "a job that runs and listens": Scene(
        _RUNS,
        ("send", "finish (awaiting)"),
        ("end_inputs", "request_cancel", "finish (failed)"),
        {"listening": ["send", "end_inputs"]},
    ),
    "a job that waits for an input": Scene(
        [*_RUNS, VERBS["finish (awaiting)"]],
        ("send", "request_cancel"),
        ("end_inputs", "send of other inputs", "claim", "sweep", *_LOOKS),
        {"due": ["send", "end_inputs"], "ended": ["request_cancel"]},
    ),
    "a job that is to be cancelled": Scene(
        [*_RUNS, VERBS["request_cancel"]],
        ("finish (retried)", "request_cancel with less grace"),
        ("finish (completed)", "heartbeat", "sweep", "get"),
        {
            "ended": ["finish (retried)"],
            "cancelling, of what was not heard": ["request_cancel with less grace"],
        },
    ),
    "a job whose worker is lost": Scene(
        [_submit(JOB, 1, _GONE), _RUNS[1]],
        ("sweep", "heartbeat", "append of a token"),
        ("finish (completed)", "finish (retried)", "spawn", "request_cancel", "claim", "get"),
        {"follow": ["sweep"], "due": ["sweep"]},
        passes=True,
    ),
    "a job with a child": Scene(
        [*_RUNS, VERBS["spawn"]],
        ("finish (completed)", "finish of the child"),
        (
            *("append to the child", "request_cancel of the child", "spawn by the child"),
            *("spawn of a second child", "heartbeat for both", "sweep", "find"),
        ),
        {
            "ended, of the child": ["finish (completed)", "finish of the child"],
            "follow of the child": ["finish (completed)", "append to the child"],
        },
    ),
    "a job that waits to run again": Scene(
        [*_RUNS, VERBS["finish (retried)"]],
        ("claim", "request_cancel"),
        ("append of a token", "finish (completed)", "heartbeat", "sweep", "get"),
        {"ended": ["request_cancel"]},
    ),
    "a job that has ended": Scene(
        [*_RUNS, VERBS["finish (completed)"]],
        ("remove", "submit with its key"),
        ("prune", "submit of something else with its key", "request_cancel", "append of a token", *_LOOKS),
        {},
        passes=True,
    ),
}
