"""The arguments that a request has for a handler, and which handlers are models for clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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


def arguments(
    parameters: Sequence[Mapping[str, Any]], given: Mapping[str, Any], missing: Callable[[str], str]
) -> list[Any]:
    """Return the arguments of a handler, each from the field that has the name of its parameter.

    Args:
        parameters: Its parameters, as `describe` has them.
        given: The fields.
        missing: Says that a parameter is missing, for the error.

    Raises:
        BadRequest: The handler needs what is not given.
    """
    taken = [number for number, one in enumerate(parameters, 1) if one["required"] or one["name"] in given]
    args: list[Any] = []
    for one in parameters[: max(taken, default=0)]:
        if one["name"] not in given and "default" not in one:
            raise BadRequest(missing(one["name"]))
        args.append(given.get(one["name"], one.get("default")))
    return args


@attrs.frozen
class Models:
    """The handlers that clients may ask for as models: those with a parameter `messages`.

    Args:
        functions: All handlers, by name.
    """

    _functions: Mapping[str, Handler]
    _parameters: dict[str, Sequence[Mapping[str, Any]]] = attrs.field(factory=dict[str, Any], init=False)

    def names(self) -> list[str]:
        """Return the names of the models."""
        return [name for name in self._functions if name in self]

    def __contains__(self, handler: str) -> bool:
        """Return whether the handler of that name is a model."""
        return handler in self._functions and any(
            one["name"] == MESSAGES for one in self._parameters_of(handler)
        )

    def _parameters_of(self, handler: str) -> Sequence[Mapping[str, Any]]:
        if handler not in self._parameters:
            self._parameters[handler] = describe(handler, self._functions[handler])["parameters"]
        return self._parameters[handler]

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
        args = arguments(self._parameters_of(handler), given, partial(_missing, handler))
        return NewJob(handler, args, options=options)


def _split(model: str) -> tuple[str, str | None]:
    handler, _, inner = model.partition("/")
    return handler, inner or None


def _missing(handler: str, name: str) -> str:
    if name == _MODEL:
        return f"the model {quoted(handler)} runs others; name one, as in model='{handler}/NAME'"
    return f"the model {quoted(handler)} takes {quoted(name)}, which this request does not have"
