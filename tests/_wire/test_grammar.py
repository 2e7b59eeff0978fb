"""A registry accepts all options of a job that the grammar of the wire allows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

import msgspec
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import SubmitOptions, schema
from trio_jobs import InvalidPayload, JobContext, Limit, Retry, handler, open_registry

DEFINITIONS = schema()["$defs"]
EXCLUDING = (("timeout", "timeouts"), ("delay", "run_at"))
FAR = 1000  # of what a schema does not bound
ANYTHING = st.none() | st.booleans() | st.integers() | st.text()


def letters(count: int) -> st.SearchStrategy[str]:
    """Draw the longest text."""
    return st.just("x" * count)


def numbered(count: int) -> st.SearchStrategy[dict[str, str]]:
    """Draw the largest object."""
    return st.just({str(number): "" for number in range(count)})


def texts(kind: dict[str, Any]) -> st.SearchStrategy[str]:
    most = kind.get("maxLength", FAR)
    return st.text(min_size=kind.get("minLength", 0), max_size=most) | letters(most)


def objects(kind: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" in kind:
        fields = {name: allowed(one) for name, one in kind["properties"].items()}
        needed = {name: fields.pop(name) for name in kind.get("required", ())}
        return st.fixed_dictionaries(needed, optional=fields)
    names, most = texts(kind.get("propertyNames", {})), kind.get("maxProperties", FAR)
    values = allowed(kind.get("additionalProperties") or {})
    return st.dictionaries(names, values, max_size=most) | numbered(most)


BY_TYPE: dict[str | None, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
    "null": lambda _: st.none(),
    "integer": lambda kind: st.integers(kind.get("minimum"), kind.get("maximum")),
    "number": lambda kind: st.floats(kind.get("minimum"), kind.get("maximum")),
    "string": texts,
    "object": objects,
    None: lambda _: ANYTHING,
}


def allowed(kind: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Draw values that a schema allows, for the keywords of JSON Schema that the options use."""
    if "$ref" in kind:
        return allowed(DEFINITIONS[kind["$ref"].rpartition("/")[2]])
    if "anyOf" in kind:
        return st.one_of(*map(allowed, kind["anyOf"]))
    if "enum" in kind:
        return st.sampled_from(kind["enum"])
    if kind.get("format") == "date-time":
        return st.datetimes(timezones=st.just(UTC)).map(lambda when: when.isoformat())
    return BY_TYPE[kind.get("type")](kind)


async def work(job: JobContext[Any]) -> None: ...


@handler(limits=[Limit(at_once=1, keyed=True)])
async def keyed(job: JobContext[Any]) -> None: ...


async def submit(options: dict[str, Any]) -> None:
    async with open_registry(capacity=0) as jobs:
        await jobs.submit(keyed if options.get("limit_key") else work, **options)


@given(allowed(DEFINITIONS["SubmitOptions"]))
def test_a_registry_takes_what_the_grammar_allows(fields: dict[str, Any]) -> None:
    """Options that fit the schema are refused only for text that no store keeps."""
    for one, other in EXCLUDING:
        if one in fields:
            fields.pop(other, None)
    if not fields.get("exclusive"):
        fields.pop("on_busy", None)
    if isinstance(pause := fields.get("on_busy"), dict):
        pause["at_most"] = max(pause.values())
        fields = {name: value for name, value in fields.items() if name not in {"delay", "run_at"}}
    options = msgspec.convert(fields, SubmitOptions).given(Retry())
    try:
        trio.run(submit, options)
    except InvalidPayload:
        assert "\0" in str(fields) or "\\x00" in str(fields)
