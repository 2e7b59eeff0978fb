"""Which handlers are models, and which parameters of one a request fills."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tests.wire import BadRequest, SubmitOptions
from trio_jobs import JobContext, handler
from trio_jobs.serving.fronts.models import Models
from trio_jobs.serving.problems import Refused

SAID = [{"role": "user", "content": "hello"}]


@handler
async def chat(
    job: JobContext[str], messages: list[Any], model: str, max_tokens: int = 9, *, tools: Any = None
) -> None:
    """Runs other models."""


@handler
async def plain(job: JobContext[str], messages: list[Any], temperature: float | None = None) -> None:
    """Is a model by itself."""


@handler(name="a/b")
async def slashed(job: JobContext[str], messages: list[Any]) -> None:
    """Has a name with a slash."""


@handler
async def picky(job: JobContext[str], messages: list[Any], colour: str) -> None:
    """Takes what no request has."""


@handler
async def by_place(job: JobContext[str], messages: list[Any], top_p: float = 1.0, /, user: str = "") -> None:
    """Takes two parameters by place only."""


@handler
async def remove_all(job: JobContext[str], really: bool) -> None:
    """Is no model."""


HANDLERS: dict[str, Any] = {
    "chat": chat,
    "plain": plain,
    "a/b": slashed,
    "picky": picky,
    "by_place": by_place,
    "remove_all": remove_all,
}
MODELS = Models(HANDLERS)


@pytest.mark.parametrize(
    ("model", "fields", "called", "args", "kwargs"),
    [
        ("plain", {}, "plain", [], {}),
        ("plain", {"temperature": 0.5, "max_tokens": 3}, "plain", [0.5], {}),
        ("plain", {"temperature": None}, "plain", [], {}),
        ("a/b", {}, "a/b", [], {}),
        ("chat/m", {}, "chat", ["m"], {}),
        ("chat/m/n", {"max_tokens": 3}, "chat", ["m/n", 3], {}),
        ("chat/m", {"tools": [{}]}, "chat", ["m"], {"tools": [{}]}),
        ("plain/m", {}, "plain", [], {}),
        ("by_place", {"user": "ann"}, "by_place", [], {"user": "ann"}),
        ("by_place", {"user": "ann", "top_p": 0.5}, "by_place", [0.5, "ann"], {}),
    ],
)
def test_arguments_are_the_fields_that_have_a_parameter(
    model: str, fields: dict[str, Any], called: str, args: list[Any], kwargs: dict[str, Any]
) -> None:
    """Fields become arguments by place, and by name behind one that is not given; what is not taken is left
    out; and the handler can be called so."""
    new = MODELS.new_job(model, {"messages": SAID, **fields}, SubmitOptions())
    assert (new.handler, new.args, new.kwargs) == (called, [SAID, *args], kwargs)
    inspect.signature(HANDLERS[called]).bind(None, *new.args, **kwargs)


@pytest.mark.parametrize(
    ("model", "error", "told"),
    [
        ("chat", BadRequest, "'chat' runs other models; name one, as in model='chat/NAME'"),
        ("chat/", BadRequest, "'chat' runs other models; name one, as in model='chat/NAME'"),
        ("picky", BadRequest, "'picky' takes 'colour', which this request does not have"),
        ("gpt", Refused, "there is no model 'gpt'; there is chat, plain, a/b, picky, by_place"),
        ("remove_all", Refused, "there is no model 'remove_all'; there is chat, plain, a/b, picky, by_place"),
        (
            "remove_all/x",
            Refused,
            "there is no model 'remove_all/x'; there is chat, plain, a/b, picky, by_place",
        ),
    ],
)
def test_what_cannot_be_asked(model: str, error: type[Exception], told: str) -> None:
    """A handler that takes no messages is no model, and a request that lacks an argument is told which."""
    with pytest.raises(error) as raised:
        MODELS.new_job(model, {"messages": SAID}, SubmitOptions())
    assert str(raised.value) == told


def test_where_there_is_no_model_the_refusal_says_what_one_is() -> None:
    """A server without models says what its handlers lack."""
    with pytest.raises(Refused, match="there is none: no handler has a parameter 'messages'"):
        Models({"remove_all": HANDLERS["remove_all"]}).new_job("gpt", {}, SubmitOptions())
