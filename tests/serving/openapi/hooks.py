"""Constraints that the document does not have: this server's handlers, their arguments, and combinations."""

from __future__ import annotations

from typing import Any

import schemathesis

HANDLERS = ["greet", "fail", "linger"]
LONGEST_NAME = 256


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: Any) -> None:
    """Give a submission or a schedule that is sound so far a handler that there is, and arguments that fit.

    No request may wait for long: a job that is given minutes to end may take them.
    """
    shorten(case.query)
    body: Any = case.body
    if case.path == "/v1/pause" and isinstance(body, dict) and body.get("handlers", "") is None:
        body["handlers"] = ["nobody"]  # else no job would start any more, and streams would not end
    has_key = "Idempotency-Key" in (case.headers or {})
    if case.path.endswith("/resubmit") and isinstance(body, dict):
        settle(body, has_key=has_key)
        if "on_busy" not in body:  # what the job has may be a Debounce, which says itself when it is due
            body.pop("delay", None)
            body.pop("run_at", None)
    if case.path not in {"/v1/jobs", "/v1/schedules"} or not isinstance(body, dict):
        return
    body.pop("again", None)  # there is no such job
    name, args = body.get("handler"), body.get("args", [])
    if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME:
        body["handler"] = handler = HANDLERS[len(name) % len(HANDLERS)]
        if handler == "greet" and isinstance(args, list):
            body["args"] = ["you", len(args)]
    if isinstance(body.get("options"), dict):
        settle(body["options"], has_key=has_key)


def shorten(query: Any) -> None:
    """Shorten every wait to less than a second."""
    for name, seconds in dict(query or {}).items():
        if name in {"grace", "patience"} and isinstance(seconds, int | float) and seconds > 1:
            query[name] = seconds % 1


def settle(options: dict[str, Any], *, has_key: bool) -> None:
    """Remove fields that contradict others."""
    if "delay" in options:
        options.pop("run_at", None)
    if "timeout" in options:
        options.pop("timeouts", None)
    if has_key:
        options.pop("key", None)
    if not options.get("exclusive"):
        options.pop("on_busy", None)
    if isinstance(options.get("on_busy"), dict):
        options["on_busy"] = {"seconds": 0, "at_most": 1}
        for name in ("delay", "run_at"):
            options.pop(name, None)
    options.pop("limit_key", None)  # none of the handlers has a keyed limit
    retry = options.get("retry")
    if isinstance(retry, dict):
        attempts = retry.get("attempts")
        # JSON Schema calls 3.0 whole; no client sends it.
        if isinstance(attempts, float) and attempts.is_integer():
            options["retry"] = {**retry, "attempts": int(attempts)}
