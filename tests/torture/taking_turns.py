"""What a tortured file must show of exclusive names, limits and schedules: a part of `checker.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from evidence import AT_ONCE, EVERY, OVER, Evidence, Rule

REPLACING = ("replace", "cancel", "Debounce")
LATE = 60.0
"""Seconds after which a tick that could not fire is left out, as the documentation says."""
CLOCK = 0.05
"""Seconds by which the file's clock may be set back."""


def one_job_holds_a_name(evidence: Evidence) -> Iterator[str]:
    """Yield jobs that were started while another one of their name had been started and had not ended."""
    holders: dict[str, str] = {}
    for job_id, state in evidence.db.execute("SELECT id, new_state FROM audit_job ORDER BY place"):
        job = evidence.jobs.get(job_id)
        if job is None or job.exclusive is None:
            continue
        if state == "running":
            holder = holders.setdefault(job.exclusive, job_id)
            if holder != job_id:
                yield f"job {job_id} was started while job {holder} held the name {job.exclusive}"
        elif state in OVER and holders.get(job.exclusive) == job_id:
            del holders[job.exclusive]


def handlers_of_a_name_take_turns(evidence: Evidence) -> Iterator[str]:
    """Yield handlers of one name that ran at the same time by their own account, and both completed."""
    began = {(one["job"], one["attempt"]): one["at"] for one in evidence.said("run")}
    spans: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for entry in evidence.said("return"):
        job, attempt = evidence.jobs.get(entry["job"]), (entry["job"], entry["attempt"])
        if job and job.exclusive and job.state == "completed" and job.attempt == entry["attempt"]:
            spans[job.exclusive].append((began[attempt], entry["at"], job.id))
    for name, each in spans.items():
        for (_, until, one), (since, _, two) in pairwise(sorted(each)):
            if since < until:
                yield f"jobs {one} and {two} ran at the same time under the name {name}"


def only_a_successor_replaces(evidence: Evidence) -> Iterator[str]:
    """Yield jobs that were replaced while they ran, or by one that replaces nothing, or has another name."""
    policies = {entry["key"]: entry.get("on_busy") for entry in evidence.said("submit")}
    waited = "SELECT id FROM audit_job WHERE new_state = 'cancelled' AND old_state IN ('queued', 'retrying')"
    ended_waiting = {row[0] for row in evidence.db.execute(waited)}
    for job in evidence.jobs.values():
        last = job.log[-1] if job.log else None
        if last is None or last.kind != "cancelled" or last.data["reason"] != "replaced":
            continue
        new = evidence.jobs.get(last.data["replaced_by"])
        policy = policies.get(new.key) if new and new.key else None
        if new is None or new.exclusive != job.exclusive or not (policy or "").startswith(REPLACING):
            yield f"job {job.id} was replaced by {last.data['replaced_by']}, whose policy is {policy}"
        if job.id not in ended_waiting:
            yield f"job {job.id} was replaced while it ran"


def names_were_held(evidence: Evidence) -> Iterator[str]:
    """Yield submits that were told of a holder which had another name, or had ended when they were made."""
    ((epoch,),) = evidence.db.execute("SELECT value FROM trio_jobs_meta WHERE name = 'epoch'")
    asked: dict[str, float] = {}
    for entry in evidence.journal:  # the lines of each process are in order
        if entry["what"] == "submit":
            asked[entry["key"]] = entry["at"]
        if entry["what"] in {"busy", "attached"}:
            holder = evidence.jobs.get(entry["holder"])
            if holder is None or holder.exclusive != entry["exclusive"]:
                yield f"{entry['key']} was told of {entry['holder']}, which has another name"
            elif holder.log[-1].at - epoch < asked[entry["key"]] - CLOCK:
                yield f"{entry['key']} was told of {entry['holder']}, which had ended before"


def limits_are_not_overshot(evidence: Evidence) -> Iterator[str]:
    """Yield jobs that were started beside as many as a limit allows."""
    running: dict[str, set[str]] = defaultdict(set)
    for job_id, state in evidence.db.execute("SELECT id, new_state FROM audit_job ORDER BY place"):
        job = evidence.jobs.get(job_id)
        if job is None or job.handler != "limited":
            continue
        for name, most in ("all", AT_ONCE["all"]), (f"key {job.limit_key}", AT_ONCE["key"]):
            if state == "running":
                running[name].add(job_id)
                if len(running[name]) > most:
                    yield f"job {job_id} is one of {len(running[name])} of {name} that run at once"
            else:
                running[name].discard(job_id)


def handlers_keep_to_limits(evidence: Evidence) -> Iterator[str]:
    """Yield moments at which too many handlers ran, by their own account, of attempts that completed."""
    began = {(one["job"], one["attempt"]): one["at"] for one in evidence.said("run")}
    changes: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for entry in evidence.said("return"):
        job = evidence.jobs.get(entry["job"])
        if (
            job is None
            or job.handler != "limited"
            or job.state != "completed"
            or job.attempt != entry["attempt"]
        ):
            continue
        for name in "all", f"key {job.limit_key}":
            changes[name] += [(began[job.id, job.attempt], 1), (entry["at"], -1)]
    for name, each in changes.items():
        count = 0
        for at, change in sorted(each):
            count += change
            if count > AT_ONCE[name.partition(" ")[0]]:
                yield f"{count} handlers of {name} ran at {at}"


def each_tick_fires_once(evidence: Evidence) -> Iterator[str]:
    """Yield ticks that fired twice, never, early or while their schedule was paused, and those without a job.

    One that could not fire for `LATE` seconds, as nothing was up, may be left out.
    """
    fired: dict[str, list[float]] = defaultdict(list)
    for name, old, new, paused, at in evidence.db.execute(
        "SELECT name, old, new, paused, at FROM audit_tick ORDER BY place"
    ):
        in_time = at - (new - EVERY) < LATE - CLOCK  # the tick before this one was to fire, too
        if new - old < EVERY - 1e-3 or (new - old > EVERY + 1e-3 and in_time):
            yield f"schedule {name} fired for {new} after {old}, at {at}"
        if paused:
            yield f"schedule {name} fired for {new} while it was paused"
        fired[name].append(new)
    jobs = defaultdict(list)
    for job in sorted(evidence.jobs.values(), key=lambda job: job.number):
        if job.schedule is not None:
            jobs[job.schedule].append(job)
    for name in fired.keys() | jobs.keys():
        refused = [job.exclusive for job in jobs[name]]
        if len(jobs[name]) > len(fired[name]) or (len(jobs[name]) < len(fired[name]) and not any(refused)):
            yield f"schedule {name} fired {len(fired[name])} times, and has {len(jobs[name])} jobs"
        for job, tick in zip(jobs[name], fired[name], strict=False):
            if job.log and job.log[0].at < tick - CLOCK:
                yield f"schedule {name} fired {tick - job.log[0].at:.3f} s before its tick"


RULES: tuple[Rule, ...] = (
    *(one_job_holds_a_name, handlers_of_a_name_take_turns, only_a_successor_replaces, names_were_held),
    *(limits_are_not_overshot, handlers_keep_to_limits, each_tick_fires_once),
)
