"""When jobs could go on: while the store answered and a worker was at work, as the journals say."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import attrs


@attrs.define
class Uptime:
    """The spans of time in which the store answered and a worker was at work.

    Attributes:
        spans: From when until when, by the clock of the journals, in order.
    """

    spans: list[tuple[float, float]]

    def within(self, since: float, until: float) -> float:
        """Return for how many seconds between two moments jobs could go on."""
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.spans)


def uptime(journal: Iterable[dict[str, Any]]) -> Uptime:
    """Return when jobs could go on."""
    spans: list[tuple[float, float]] = []
    working: set[str] = set()
    stopped: set[str] = set()
    answers, since = True, math.inf
    for entry in sorted(journal, key=lambda entry: entry["at"]):
        match entry["what"]:
            case "works":
                working.add(entry["who"])
            case "start":
                role = entry["name"].partition(".")[0]
                working = {one for one in working if one.partition(".")[0] != role}
            case "failpoint":
                working.discard(entry["who"])
            case "signal":
                name = f"{entry['name']}.{entry['generation']}"
                if name in working:
                    working.remove(name)
                    stopped |= {name} if entry["number"] == "SIGSTOP" else set()
                elif name in stopped and entry["number"] == "SIGCONT":
                    stopped.remove(name)
                    working.add(name)
            case "server":
                answers = entry["answers"]
            case _:
                pass
        up = answers and bool(working)
        if up and since == math.inf:
            since = entry["at"]
        elif not up and since < math.inf:
            spans.append((since, entry["at"]))
            since = math.inf
    if since < math.inf:
        spans.append((since, math.inf))
    return Uptime(spans)
