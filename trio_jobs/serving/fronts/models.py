"""Which parameters of a handler a request fills, and which handlers are models for clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

import attrs

from ..._common.errors import quoted
from ..._model.handlers import Handler
from ..._wire.options import SubmitOptions
from ..._wire.requests import BadRequest, NewJob
from ..describe import describe
from ..problems import Refused

MESSAGES: Final = "messages"
"""The parameter that makes a handler a model: the conversation, a list of objects with role and content."""
_MODEL: Final = "model"


def parameters_of(described: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the parameters of a handler, given what `describe` returns of it; not those without a name."""
    return [*described["parameters"], *described["keyword_only"]]


def job_of(described: Mapping[str, Any], given: Mapping[str, Any], options: SubmitOptions) -> NewJob:
    """Return a job whose arguments are those values that its handler has parameters for.

    Args:
        described: The handler, as `describe` returns it.
        given: Values, by the names of parameters.
        options: The options of the job.

    Raises:
        BadRequest: A parameter gets no value, and needs one.
    """
    handler, parameters = described["name"], parameters_of(described)
    for one in parameters:
        if one["required"] and one["name"] not in given:
            name = quoted(one["name"])
            raise BadRequest(f"{quoted(handler)} takes {name}, which this request does not have")
    # By place as far as that goes, as some parameters cannot be given by name.
    args = [
        given[one["name"]] for one in takewhile(lambda one: one["name"] in given, described["parameters"])
    ]
    kwargs = {one["name"]: given[one["name"]] for one in parameters[len(args) :] if one["name"] in given}
    return NewJob(handler, args, kwargs=kwargs, options=options)


@attrs.frozen
class Models:
    """The handlers that clients may ask for as models: those with a parameter `messages`.

    Args:
        functions: All handlers, by name.
    """

    _functions: Mapping[str, Handler]
    _described: dict[str, Mapping[str, Any]] = attrs.field(factory=dict[str, Any], init=False)

    def names(self) -> list[str]:
        """Return the names of the models."""
        return [name for name in self._functions if name in self]

    def __contains__(self, handler: str) -> bool:
        """Return whether the handler of that name is a model."""
        return handler in self._functions and any(
            one["name"] == MESSAGES for one in parameters_of(self._describe(handler))
        )

    def _describe(self, handler: str) -> Mapping[str, Any]:
        if handler not in self._described:
            self._described[handler] = describe(handler, self._functions[handler])
        return self._described[handler]

    def new_job(self, model: str, fields: Mapping[str, Any], options: SubmitOptions) -> NewJob:
        """Return the job that answers a request: its arguments are the fields for which it has parameters.

        Args:
            model: The handler; or `HANDLER/NAME`, of which the handler gets the name as its `model`.
            fields: What the request has, by the names of parameters; None is nothing.
            options: The options of the job.

        Raises:
            Refused: There is no such model.
            BadRequest: The handler needs what the request does not have.
        """
        handler, inner = (model, None) if model in self else _split(model)
        if handler not in self:
            known = ", ".join(self.names()) or "none: no handler has a parameter 'messages'"
            raise Refused("not_found", f"there is no model {quoted(model)}; there is {known}")
        given = {name: value for name, value in {**fields, _MODEL: inner}.items() if value is not None}
        described = self._describe(handler)
        needed = [one["name"] for one in parameters_of(described) if one["required"]]
        if inner is None and _MODEL in needed:
            raise BadRequest(f"{quoted(handler)} runs other models; name one, as in model='{handler}/NAME'")
        return job_of(described, given, options)


def _split(model: str) -> tuple[str, str | None]:
    handler, _, inner = model.partition("/")
    return handler, inner or None
