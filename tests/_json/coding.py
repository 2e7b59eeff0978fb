"""What the tests of this room use to turn values and arguments into JSON and back, and drawn values."""

from __future__ import annotations

from hypothesis import strategies as st

from trio_jobs._json.arguments import Arguments, plain_arguments
from trio_jobs._json.inputs import Inputs
from trio_jobs._json.records import plain
from trio_jobs._json.values import DEPTH, decode, encode, encode_flat, to_json

__all__ = [
    "DEPTH",
    "Arguments",
    "Inputs",
    "decode",
    "encode",
    "encode_flat",
    "numbers",
    "plain",
    "plain_arguments",
    "texts",
    "to_json",
    "values",
]

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=12,
)
