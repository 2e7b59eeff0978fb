"""Messages to fuzz with: valid ones by the grammar, mutated ones, any JSON, and any text or bytes."""

from __future__ import annotations

import json
from random import Random
from typing import Any

LIVE = "f" * 32
"""Stands for the id of a job that is there; whoever sends the message puts it in."""
HANDLERS = ["echo", "fail", "flood", "wait", "none"]
JOBS = [*[LIVE] * 7, "0" * 32, "", "x" * 64, "../..", "é"]


def _options(rng: Random) -> dict[str, Any]:
    every: dict[str, Any] = {
        "timeout": rng.choice([None, 0, 1, 2.5, 1e9]),
        "timeouts": {rng.choice(["run", "queue", "idle", "first_token"]): rng.choice([None, 1, 0.5])},
        "retry": {"attempts": rng.randint(1, 5), "jitter": rng.random()},
        "priority": rng.choice(["urgent", "high", "normal", "low"]),
        "delay": rng.choice([0, 0.01, 3600]),
        "run_at": "2030-01-01T00:00:00Z",
        "tags": {rng.choice(["a", "é", "x y"]): rng.choice(["", "b", "\u2028"])},
        "metadata": {"a": [1, None, {"b": "c"}]},
        "key": f"key {rng.randrange(20)}",
        "when_unread": rng.choice(["continue", "pause", "cancel"]),
        "linger": rng.randrange(10),
    }
    return {name: every[name] for name in rng.sample(sorted(every), rng.randrange(4))}


def _fields(rng: Random, op: str) -> dict[str, Any]:  # noqa: PLR0911  # a table
    job = rng.choice(JOBS)
    match op:
        case "submit":
            args = rng.choice([[], ["a"], ["a", "\n\r", "[DONE]"], [3, 10]])
            return {"handler": rng.choice(HANDLERS), "args": args, "options": _options(rng)}
        case "find" | "list":
            every: dict[str, Any] = {
                "state": rng.choice(["queued", ["failed", "running"], None]),
                "tags": {"a": "b"},
                "handler": "echo",
                "parent": job,
                "reason": rng.choice([None, "snoozed", "awaiting_input", "user"]),
                "limit": rng.randint(1, 1000),
                "newest": rng.random() < 0.5,
            }
            if op == "list":
                every["cursor"] = rng.choice([None, "0", "1", "99999", "x", ""])
            return {name: every[name] for name in rng.sample(sorted(every), rng.randrange(4))}
        case "value":
            name = rng.choice(["result", "saved", "metadata", "data"])
            return {
                "job": job,
                "field": name,
                "seq": rng.randrange(9),
                "offset": rng.choice([0, 0, 1, 10**6]),
            }
        case "cancel":
            return {
                "job": job,
                "reason": rng.choice([None, "x\n"]),
                "wait": rng.random() < 0.5,
                "patience": 0.01,
            }
        case "send":
            values = rng.choice([["a"], [1, {"b": [None]}], ["x" * 3000], ["a", None]])
            return {"job": job, "values": values, "input_id": f"input {rng.randrange(99)}"}
        case "end_inputs":
            return {"job": job}
        case "follow":
            window = rng.choice([None, 3, 9, 10**6])
            return {
                "job": job,
                "after": rng.choice([0, 0, 0, 2]),
                "policy": rng.choice(["gap", "block"]),
                "window": window,
            }
        case "ack":
            return {"cursor": rng.choice([0, 1, 2, 3, 5, 2**53 - 1])}
        case "history":
            return {"job": job, "after": rng.randrange(9)}
        case "get" | "wait":
            return {"job": job}
        case _:
            return {}


OPS = [
    *[
        "submit",
        "get",
        "list",
        "find",
        "history",
        "value",
        "wait",
        "cancel",
        "send",
        "end_inputs",
        "handlers",
        "statistics",
        "ping",
    ],
    *["follow", "follow", "ack", "ack", "ack", "unfollow", "unfollow"],
]


def proper(rng: Random) -> str:
    """Return a request that the grammar allows."""
    op = rng.choice(OPS)
    message = {"op": op, "id": rng.choice([*range(1, 8), 2**53 - 1]), **_fields(rng, op)}
    items = list(message.items())
    rng.shuffle(items)
    return json.dumps(dict(items), ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 1]))


def mutated(rng: Random) -> str:
    """Return a request with a mistake: characters, a value, a field too many or too few, or its end."""
    how = rng.randrange(4)
    if how == 0:
        text = list(proper(rng))
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(text) + 1)
            text[at : at + rng.randrange(3)] = rng.choice(
                [
                    "",
                    '"',
                    "{",
                    "}",
                    "[",
                    "\\",
                    "\\ud800",
                    "\x00",
                    "e9",
                    "-",
                    chr(rng.randrange(0xD800)),
                    ",",
                    ":",
                ]
            )
        return "".join(text)
    if how == 1:
        text_ = proper(rng)
        return text_[: rng.randrange(len(text_))]
    message = json.loads(proper(rng))
    if how == 2:
        message[rng.choice(sorted(message))] = value(rng, 0)
    elif rng.random() < 0.5:
        message[rng.choice(["owner", "__class__", "x", "", "re", "tag"])] = value(rng, 0)
    else:
        del message[rng.choice(sorted(message))]
    return json.dumps(message)


def value(rng: Random, depth: int) -> Any:
    """Return a JSON value of any shape."""
    if depth > 40 or rng.random() < 0.5:
        return rng.choice(
            [
                *[
                    None,
                    True,
                    False,
                    0,
                    1,
                    -1,
                    2**53,
                    2**64,
                    10**400,
                    -0.0,
                    1.5,
                    1e308,
                    float("nan"),
                    float("inf"),
                ],
                *[
                    "",
                    "a",
                    "\x00",
                    "\ud800",
                    "\x1b[2J",
                    "x" * rng.randrange(5000),
                    rng.choice(['"', "\\", "[", '\\"', "\\u0000"]) * rng.randrange(5000),
                    "[DONE]",
                    "é" * 9,
                    "\u2028",
                ],
            ]
        )
    if rng.random() < 0.5:
        return [value(rng, depth + 1) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    return {
        rng.choice(["op", "id", "a", "", "\x00"]): value(rng, depth + 1)
        for _ in range(rng.choice([0, 1, 1, 2]))
    }


def inputs(rng: Random) -> str:
    """Return the body of a request that gives a job inputs of any kind, mostly a right one."""
    sent = {"value": value(rng, 0)} if rng.random() < 0.5 else {"values": [value(rng, 30), "a", None]}
    if rng.random() < 0.2:
        sent[rng.choice(["value", "values", "id", ""])] = value(rng, 30)
    return json.dumps(sent)


def sends(rng: Random) -> str:
    """Return a request that sends a job inputs of any kind."""
    values = [value(rng, 0) for _ in range(rng.choice([0, 1, 1, 1, 2]))]
    name = rng.choice(["", "a", "\x00", "é", "x" * 256, f"input {rng.randrange(99)}"])
    given = {"op": "send", "id": rng.randrange(1, 8), "job": LIVE, "values": values, "input_id": name}
    return json.dumps(given, ensure_ascii=rng.random() < 0.8)


def nonsense(rng: Random) -> str:
    """Return JSON that is no request; sometimes very deep."""
    if rng.random() < 0.1:
        depth = rng.randrange(5000)
        return rng.choice(["[", '{"a":', '{"op":"ping","id":1,"x":[']) * depth
    return json.dumps(value(rng, 0), ensure_ascii=rng.random() < 0.8)


def raw(rng: Random) -> str | bytes:
    """Return any text, sometimes bytes."""
    data = rng.randbytes(rng.randrange(300))
    if rng.random() < 0.05:
        return data
    return data.decode(rng.choice(["latin-1", "utf-8"]), errors=rng.choice(["ignore", "surrogateescape"]))
