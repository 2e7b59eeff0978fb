"""The store of the page on writing one, unchanged or with a fault."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-store.md"


class Fault(NamedTuple):
    """A change to that store.

    Attributes:
        name: What is wrong, in a few words.
        check: A check that finds it.
        before: Text that is in it once.
        after: What stands there instead.
    """

    name: str
    check: str
    before: str
    after: str


def own_store(fault: Fault | None = None) -> ModuleType:
    """Return the module that the page shows."""
    blocks = re.findall(r"```python\n(# my_store\.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    code = "".join(blocks)
    if fault is not None:
        if code.count(fault.before) != 1:
            raise ValueError(
                f"{fault.name}: its text is on the page {code.count(fault.before)} times, not once"
            )
        code = code.replace(fault.before, fault.after)
    module = ModuleType("my_store")
    exec(compile(code, str(PAGE), "exec", dont_inherit=True), vars(module))  # noqa: S102  # our own documentation
    return module


_LATER = "        await trio.lowlevel.checkpoint()\n"
_STEP = "        with self.step():\n"

FAULTS = [
    Fault(
        "submit looks for the holder of a key, and writes later",
        "racing.no_job",
        _STEP + "            for new in batch:\n                if new.submitter",
        "        known = [self.load('key = ? AND owner IS ?', new.key, new.options.owner) for new in batch]\n"
        + _LATER
        + _STEP
        + "            for new, held in zip(batch, known):\n"
        "                held or self.save(packed(new, self.now()))\n"
        "            for new in batch:\n                if new.submitter",
    ),
    Fault(
        "get does not tell arguments",
        "looking.arguments_are_told",
        '        args=None if options.hide_args else tuple(row["args"]),\n',
        "",
    ),
    Fault(
        "claim forgets arguments by name",
        "submitting.arguments_are_given_by_name",
        '    new.kwargs = row["kwargs"]\n',
        "",
    ),
    Fault(
        "get tells hidden arguments",
        "looking.hidden_arguments_are_not_told",
        "args=None if options.hide_args else tuple",
        "args=tuple",
    ),
    Fault(
        "spawn looks for its parent, and writes later",
        "racing.a_job_that_runs",
        _STEP + "            self.running(parent, attempt, worker.claim)\n            for row in self.load",
        "        self.running(parent, attempt, worker.claim)\n"
        + _LATER
        + _STEP
        + "            for row in self.load",
    ),
    Fault(
        "claim looks for what is due, and writes later",
        "racing.a_job_that_waits",
        _STEP + "            return self.start_due(limit, worker)\n",
        "        rows = self.load(\"state IN ('queued', 'retrying')\")\n"
        "        rows = [row for row in rows if row['due'] <= self.now()]\n"
        + _LATER
        + _STEP
        + "            return [self.start(row, worker) for row in rows[:limit]]\n",
    ),
    Fault(
        "heartbeat looks at what runs, and writes later",
        "racing.a_job_that_runs",
        "        with self.step():\n            for job_id, attempt in held.items():\n                try:\n"
        "                    row = self.running(job_id, attempt, claims.get(job_id))\n",
        "        rows = {row['id']: row for row in self.load(\"state = 'running'\")}\n"
        + _LATER
        + _STEP
        + "            for job_id, attempt in held.items():\n                try:\n"
        "                    row = rows.get(job_id) or self.running(job_id, attempt, claims.get(job_id))\n",
    ),
    Fault(
        "append looks at the job, and writes later",
        "racing.a_job_that_runs",
        _STEP
        + "            row = self.running(job_id, attempt, claim, offset, received)\n            data = data",
        "        row = self.running(job_id, attempt, claim, offset, received)\n"
        + _LATER
        + _STEP
        + "            data = data",
    ),
    Fault(
        "finish looks at the job, and writes later",
        "racing.a_job_that_runs",
        "            return self.end(self.running(job_id, attempt, claim, *knows), outcome)\n",
        "            row = self.running(job_id, attempt, claim, *knows)\n"
        + _LATER
        + _STEP
        + "            return self.end(row, outcome)\n",
    ),
    Fault(
        "request_cancel looks at the job, and writes later",
        "racing.a_job_that_runs",
        _STEP + "            row = self.one(job_id)\n            answer",
        "        row = self.one(job_id)\n" + _LATER + _STEP + "            answer",
    ),
    Fault(
        "sweep looks for what has lapsed, and writes later",
        "racing.a_job_whose_worker_is_lost",
        _STEP + "            self.expire()\n"
        "            for row in self.load(\"state = 'running' AND parent IS NULL\"):\n",
        "        rows = self.load(\"state = 'running' AND parent IS NULL\")\n"
        + _LATER
        + _STEP
        + "            self.expire()\n            for row in rows:\n",
    ),
    Fault(
        "remove looks at the state, and deletes later",
        "racing.a_job_that_has_ended",
        _STEP + '            state = State(self.one(job_id)["state"])\n',
        '        state = State(self.one(job_id)["state"])\n' + _LATER + _STEP,
    ),
    Fault(
        "an end that is cut short: the children end in one step, their parent in the next",
        "racing.a_job_with_a_child",
        "            return self.end(self.running(job_id, attempt, claim, *knows), outcome)\n",
        "            for child in self.load(\"parent = ? AND state = 'running'\", job_id):\n"
        "                self.end(child, Outcome(Transition.CANCELLED, ended=Ended(Reason.PARENT)))\n"
        + _LATER
        + _STEP
        + "            return self.end(self.running(job_id, attempt, claim, *knows), outcome)\n",
    ),
    Fault(
        "follow looks for events, and then whether the job is over",
        "racing.a_job_that_runs",
        "            job = await self.get(job_id)\n            check_cursor",
        "            await trio.lowlevel.checkpoint()\n"
        "            job = await self.get(job_id)\n            check_cursor",
    ),
    Fault(
        "send looks at the job, and writes later",
        "racing.a_job_that_runs_and_has_inputs",
        _STEP + "            row = self.one(job_id)\n            if input_id",
        "        row = self.one(job_id)\n" + _LATER + _STEP + "            if input_id",
    ),
    Fault(
        "end_inputs looks at the job, and writes later",
        "racing.a_job_that_waits_for_an_input",
        _STEP + "            row = self.one(job_id)\n            if not row",
        "        row = self.one(job_id)\n" + _LATER + _STEP + "            if not row",
    ),
    Fault(
        "an input that comes before a wait is recorded wakes nobody",
        "awaiting.what_was_not_received_ends_a_wait_at_once",
        'last_input=row["last_input"], before=before',
        "last_input=0, before=before",
    ),
    Fault(
        "an input does not wake who waits for it",
        "awaiting.an_input_wakes",
        '            row["due"] = now\n',
        '            row["due"] = row["due"]\n',
    ),
    Fault(
        "an input wakes every job",
        "awaiting.an_input_hastens_no_other_job",
        '        if wakes(State(row["state"]), reason_of(row["reason"]), row["due"], now):\n',
        "        if True:\n",
    ),
    Fault(
        "an input that is sent again is a new one",
        "inputs.a_known_id_is_the_same_input",
        '            if input_id in row["ids"]:\n',
        '            if input_id in row["ids"] and row["state"] == State.QUEUED:\n',
    ),
    Fault(
        "an id is known for whatever values",
        "inputs.a_known_id_is_the_same_input",
        "                if before != json.dumps(data):\n",
        "                if len(json.loads(before)) != len(data):\n",
    ),
    Fault(
        "a save consumes what was not received",
        "inputs.saving_consumes",
        'row["consumed"] = received = max(row["consumed"], received)',
        'row["consumed"] = received = len(row["log"])',
    ),
    Fault(
        "a save gives back what an earlier one consumed",
        "inputs.saving_consumes",
        'row["consumed"] = received = max(row["consumed"], received)',
        'row["consumed"] = received',
    ),
    Fault(
        "each end consumes what was received",
        "inputs.completing_consumes",
        "            if done.transition is Transition.COMPLETED:\n",
        "            if done.transition is not None:\n",
    ),
    Fault(
        "a wait that is over is taken for one that an input ended",
        "awaiting.a_wait_may_have_a_limit",
        'waited(reason_of(row["reason"]), row["last_input"], row["received"])',
        'waited(reason_of(row["reason"]), row["last_input"], -1)',
    ),
    Fault(
        "a job takes inputs after their end",
        "inputs.what_has_ended_takes_no_inputs",
        'ended=row["inputs_ended"] > 0)',
        "ended=False)",
    ),
    Fault(
        "a claim forgets what is consumed",
        "inputs.saving_consumes",
        'rest = seq, row["consumed"], row["waited"], row["claim"]',
        'rest = seq, 0, row["waited"], row["claim"]',
    ),
    Fault(
        "repeated ends are not counted",
        "awaiting.ends_in_a_row_are_counted",
        '            row["before"] = [done.ended.reason, done.ended.repeats]\n',
        '            row["before"] = None\n',
    ),
    Fault(
        "who listens hears of any event",
        "inputs.who_listens_hears_of_inputs",
        '(row["last_input"], len(row["log"]))',
        '(len(row["log"]), len(row["log"]))',
    ),
    Fault(
        "leases are cut to whole seconds",
        "leasing.a_lease_is_as_long_as_was_said",
        'row |= {"lease": self.now() + worker.lease,',
        'row |= {"lease": self.now() + worker.lease // 1,',
    ),
    Fault(
        "the leases of heartbeats end with a whole second",
        "leasing.a_lease_is_as_long_as_was_said",
        "else self.now() + lease})",
        "else (self.now() + lease) // 1})",
    ),
    Fault(
        "a queue timeout is cut to whole seconds",
        "expiring.a_queue_timeout_is_as_long_as_was_said",
        'row["due"] + limit <= self.now()',
        'row["due"] + limit // 1 <= self.now()',
    ),
    Fault(
        "a heartbeat for a child gives it a lease, and a sweep takes it",
        "spawning.a_heartbeat_for_a_child_renews_nothing",
        '{"lease": math.inf if row["parent"] else self.now() + lease}',
        '{"lease": self.now() + lease, "parent": None}',
    ),
    Fault(
        "a sweep ends a job that was started in time",
        "expiring.a_job_that_was_claimed_in_time_goes_on",
        "for row in self.load(\"state = 'queued'\"):",
        "for row in self.load(\"state = 'queued' OR state = 'running' AND parent IS NULL\"):",
    ),
    Fault(
        "a sweep takes back five hundred attempts, and leaves the rest",
        "leasing.however_many_leases_are_swept",
        "for row in self.load(\"state = 'running' AND parent IS NULL\"):",
        "for row in self.load(\"state = 'running' AND parent IS NULL\")[:500]:",
    ),
    Fault(
        "a sweep names the worker of the first attempt",
        "leasing.a_sweep_says_what_it_reclaimed",
        '"worker": worker.name}',
        '"worker": row.get("worker", worker.name)}',
    ),
    Fault(
        "room is counted before the batch is accepted",
        "submitting.an_owner_has_so_much_room",
        "> new.room:",
        "> new.room + 1:",
    ),
    Fault(
        "a time of 0 is taken for none",
        "removing.prune_forgets_what_is_old",
        'row["finished"] is not None and row["finished"] < before',
        '(row["finished"] or math.inf) < before',
    ),
    Fault(
        "who awaits what has ended does not hear of a cancellation",
        "waiting.follow_and_ended_are_checkpoints",
        "            await self.pause()\n        await trio.lowlevel.checkpoint()\n        return job\n",
        "            await self.pause()\n        return job\n",
    ),
    Fault(
        "a claim whose answer was lost starts other jobs when it is asked again",
        "claiming.a_claim_is_asked_again",
        '        if known := [row for row in rows if row["claim"] == worker.claim]:\n',
        '        if known := [row for row in rows if row["claim"] == worker.name]:\n',
    ),
    Fault(
        "what stands behind a job that runs may start",
        "exclusive.a_submit_starts_what_it_may",
        '        rows = [row for row in rows if row["behind"] is None]\n',
        "        self.load()\n",
    ),
    Fault(
        "the second in the line holds the name",
        "exclusive.after_is_in_order",
        'None if one is line[0] else line[0]["id"]',
        "None",
    ),
    Fault(
        "only what fails moves the next one up",
        "exclusive.other_workers_start_the_next_one",
        'held = state.over and row["behind"] is None',
        "held = state is State.FAILED",
    ),
    Fault(
        "a debounce forgets since when it is put off",
        "exclusive.a_debounce_puts_off_so_long",
        'before = [one["put_off"] for one in gone]',
        "before = []",
    ),
    Fault(
        "a claim starts what waited too long, until a sweep comes",
        "expiring.what_waited_too_long_is_not_started",
        "        self.expire()\n        rows = ",
        "        rows = ",
    ),
]
