"""What the tests of the room need to turn values and arguments into JSON, and back."""

from __future__ import annotations

from trio_jobs._json.arguments import Arguments
from trio_jobs._json.records import plain
from trio_jobs._json.values import DEPTH, decode, encode, encode_flat, to_json

__all__ = ["DEPTH", "Arguments", "decode", "encode", "encode_flat", "plain", "to_json"]
