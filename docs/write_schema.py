"""Make docs/wire.schema.json from what the server decodes with: `python docs/write_schema.py`."""

from __future__ import annotations

import json
from pathlib import Path

from trio_jobs._wire.decoding import schema

FILE = Path(__file__).with_name("wire.schema.json")


def text() -> str:
    """Return what the file is to hold."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
