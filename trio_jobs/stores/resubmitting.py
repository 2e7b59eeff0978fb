"""The contract of a store whose jobs can be submitted again, and how a new submission is made of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable

import attrs

from .._common.errors import IllegalTransition
from .._common.validate import text
from .._model.handler import check_limit_key, mark_of
from .._model.job import Options, new_id
from .._model.options import build
from .contract import Store, Submission
from .records import Again

_OF_SERVICES: Final = frozenset({"tags", "metadata"})


@runtime_checkable
class KeepsSubmissions(Protocol):
    """A store that can tell what a job was submitted with.

    Its `submit` obeys `Submission.again` too: in the step that accepts such a job, the one that it is
    submitted again for is marked. With `once`, if that is marked already, nothing is accepted, and the answer
    is the id of the job that it was submitted as last.
    """

    async def submission(self, job_id: str) -> Submission:
        """Return what a job was submitted with.

        Raises:
            UnknownJob: No job has this id.
            UnknownHandler: The store runs handlers by name, and does not know the job's.
            InvalidPayload: The arguments do not fit the handler, which was changed since.
        """
        ...


def keeper_of(store: Store) -> KeepsSubmissions:
    """Return a store as one whose jobs can be submitted again. Raises `TypeError` if it is none."""
    if not isinstance(store, KeepsSubmissions):
        raise TypeError(f"jobs of {type(store).__name__} cannot be submitted again: it has no `submission`")
    return store


async def submit_again(store: Store, job_id: str, given: Mapping[str, Any]) -> Submission:
    """Return what submits a job that has ended again.

    Raises:
        IllegalTransition: It has not ended.
        Exception: What `KeepsSubmissions.submission` and `resubmission` raise.
    """
    state = (await store.get(job_id)).state
    if not state.over:
        raise IllegalTransition(state, "submitted again", "; wait for its end, or cancel it")
    return resubmission(await keeper_of(store).submission(job_id), given)


def resubmission(old: Submission, given: Mapping[str, Any], *, once: bool = False) -> Submission:
    """Return a job submitted again, without its key, `run_at` and delay, with the options that were given.

    Raises:
        TypeError: An option is unknown or has the wrong type, a `limit_key` is missing or has no meaning, or
            it is a service, which takes tags and metadata only.
        ValueError: An option is out of range.
    """
    mark = mark_of(old.target)
    options = {name: value for name, value in given.items() if name != "key"}
    new = Submission(new_id(), old.handler, old.target, old.args, _options(old, options), kwargs=old.kwargs)
    if (key := given.get("key")) is not None:
        new.key = text("key", key)
    if mark.limits or "limit_key" in given:
        check_limit_key(mark, {"limit_key": new.options.limit_key})
    new.limits, new.again = mark.limits, Again(old.id, once)
    return new


def _options(old: Submission, given: Mapping[str, Any]) -> Options:
    before = old.options
    if before.restart is not None:
        if wrong := [name for name in given.keys() - _OF_SERVICES if given[name] is not None]:
            raise TypeError(
                f"{old.handler} is a service, which is submitted again as it is, but for tags and metadata; "
                f"leave out {', '.join(sorted(wrong))}"
            )
        return build(before, {name: given[name] for name in given.keys() & _OF_SERVICES})
    if (exclusive := given.get("exclusive", before.exclusive)) is not None:
        given = {"on_busy": before.on_busy, **given, "exclusive": exclusive}
    base = attrs.evolve(before, delay=0.0, run_at=None, exclusive=None, on_busy="reject")
    return build(base, given)
