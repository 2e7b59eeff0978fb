"""Real bugs of similar systems, as small changes to the package, which the harness must find."""

from __future__ import annotations

from tests.planted.bug import Bug
from tests.planted.bulked import BULKED
from tests.planted.damaged import DAMAGED
from tests.planted.databased import DATABASED
from tests.planted.excluded import EXCLUDED
from tests.planted.flowing import FLOWING
from tests.planted.limited import LIMITED
from tests.planted.listened import LISTENED
from tests.planted.lived import LIVED
from tests.planted.lost import LOST
from tests.planted.named import NAMED
from tests.planted.paused import PAUSED
from tests.planted.resubmitted import RESUBMITTED
from tests.planted.sent import SENT
from tests.planted.served import SERVED
from tests.planted.shared import SHARED
from tests.planted.simulated import SIMULATED
from tests.planted.stored import STORED
from tests.planted.streamed import STREAMED

MEMORY, ROW, LOG, QUEUE = "stores/memory.py", "stores/_row.py", "stores/log.py", "stores/_queue.py"
LEASING = "stores/_leasing.py"
QUEUEING = "stores/_queueing.py"
RULES = "stores/rules.py"

_FIRST = [
    Bug(
        "the attempt is not checked as the fence",
        "a worker whose attempt was reclaimed writes into the next attempt's log",
        LEASING,
        "row.state is not _RUNNING or row.attempt != attempt or row.claim != claim:\n",
        "row.state is not _RUNNING:\n",
        "simulation",
    ),
    Bug(
        "a heartbeat renews nothing",
        "jobs of healthy workers are reclaimed and run twice",
        LEASING,
        "                self._lease(row, lease, now)\n            if row.cancel_requested",
        "                pass\n            if row.cancel_requested",
        "store",
    ),
    Bug(
        "a lease outlives its attempt",
        "the sweep reclaims a job that has ended",
        MEMORY,
        "        if self._leases.tickets:\n            self._leases.discard(row.submission.id)\n",
        "",
        "simulation",
    ),
    Bug(
        "a cancellation overwrites a completion",
        "a job that returned its result is CANCELLED later",
        MEMORY,
        '        if answer == "already_over":\n            return answer\n',
        '        if answer == "already_over":\n            row.state = State.RETRYING\n',
        "simulation",
    ),
    Bug(
        "a cancelled job has ended while its handler runs",
        "CANCELLED is shown, and the work goes on",
        MEMORY,
        '        if answer == "cancelled":\n            self._leave_queue(row)\n'
        "            self._end(row, Transition.CANCELLED, Ended(Reason.USER, message), now)\n",
        "        self._leave_queue(row)\n"
        "        self._end(row, Transition.CANCELLED, Ended(Reason.USER, message), now)\n",
        "simulation",
    ),
    Bug(
        "an end is not final",
        "a completed job starts again",
        "_common/states.py",
        "    State.COMPLETED: {},",
        "    State.COMPLETED: {Transition.RETRIED: State.RETRYING},",
        "store",
    ),
    Bug(
        "a gap between replay and live",
        "a reader that has caught up misses the first of several events",
        "stores/_looking.py",
        "            await row.log.wait()\n            events = row.log.read(after, limit)",
        "            await row.log.wait()\n            events = row.log.read(row.log.last_seq - 1, limit)",
        "simulation",
    ),
    Bug(
        "the end of the stream is lost",
        "a reader waits for ever for a job that has ended",
        LOG,
        "        if self.followers is not None:\n            self.followers.ring()\n        return seq",
        "        if self.followers is not None and not self.over:\n            self.followers.ring()\n"
        "        return seq",
        "store",
    ),
    Bug(
        "waiters are not woken",
        "`result()` hangs although the job has ended",
        MEMORY,
        "            row.waiters.ring()",
        "            pass",
        "store",
    ),
    Bug(
        "the count of appended events goes on over a retry",
        "the first tokens of a second attempt vanish",
        LOG,
        "self.writer, self._others = attempt, seq\n",
        "self.writer = attempt\n",
        "simulation",
    ),
    Bug(
        "a retry is counted twice",
        "a job with three attempts gets two",
        MEMORY,
        "            row.spent -= done.unspent\n",
        "            row.spent += not done.unspent\n",
        "simulation",
    ),
    Bug(
        "a deploy spends the retry budget",
        "jobs fail because the service was restarted often",
        "_common/states.py",
        "frozenset({Reason.SHUTDOWN, Reason.SNOOZED,",
        "frozenset({Reason.SNOOZED,",
        "simulation",
    ),
    Bug(
        "the newest job is claimed first",
        "an old job never starts while others keep coming",
        QUEUE,
        "heapq.heappush(self._ready, (due + penalty, number, ticket, job_id))",
        "heapq.heappush(self._ready, (-due - penalty, -number, ticket, job_id))",
        "store",
    ),
    Bug(
        "jobs start before they are due",
        "a delay of an hour lasts a moment",
        QUEUE,
        "self._later[0][0] <= now:",
        "self._later[0][0] <= now + 3600:",
        "store",
    ),
    Bug(
        "the log grows without bound",
        "a job with many tokens fills the memory of the process",
        LOG,
        "if self._count > keep.events or self._bytes > keep.bytes:",
        "if self._count > keep.events * 1000:",
        "store",
    ),
    Bug(
        "trimming drops the history",
        "after a million tokens the history lacks the job's start",
        LOG,
        "for place, weight in enumerate(weights[:passed]) if not weight]",
        "for place, weight in enumerate(weights[:passed]) if False]",
        "store",
    ),
    Bug(
        "trimming leaves a hole in the numbers",
        "a reader that was up to date gets a gap although no event is missing",
        LOG,
        "self.before += rest\n",
        "self.before += rest + 1\n",
        "store",
    ),
    Bug(
        "a retry overtakes a cancellation",
        "a job that was cancelled runs again",
        RULES,
        "        if asked:\n            return Conclusion",
        "        if False:\n            return Conclusion",
        "simulation",
    ),
    Bug(
        "a repeated append is taken for a new one",
        "tokens are doubled when an answer is lost",
        MEMORY,
        "            if not (values := values[there - offset :]):",
        "            if not values:",
        "simulation",
    ),
    Bug(
        "an idempotency key is ignored",
        "a client that repeats a submit gets two jobs",
        MEMORY,
        "        if address in self._keys:\n",
        "        if False:\n",
        "simulation",
    ),
    Bug(
        "a lost wake-up for workers",
        "a job waits although a worker is idle",
        MEMORY,
        "        if self._waiting or self._lanes or self._services:\n            self._work.ring()\n",
        "",
        "store",
    ),
    Bug(
        "the jobs of a crashed worker are not reclaimed",
        "jobs are RUNNING for ever after a crash",
        LEASING,
        "        if lease != math.inf:\n            self._leases.add(",
        "        if lease == math.inf:\n            self._leases.add(",
        "simulation",
    ),
    Bug(
        "a job that crashes its workers never fails",
        "one bad job takes down worker after worker",
        RULES,
        "    deadly = losses >= max(attempts or 0, CRASHES) and not service\n",
        "    deadly = False\n",
        "store",
    ),
    Bug(
        "children do not end with their parent",
        "child jobs are RUNNING for ever when their parent has ended",
        MEMORY,
        "        if row.children:\n            self._end_children(row, now)\n        row.result",
        "        row.result",
        "simulation",
    ),
    Bug(
        "children of children do not end with their parent",
        "grandchildren are RUNNING for ever",
        MEMORY,
        "            below += map(self._rows.__getitem__, one.children or ())\n",
        "            below += map(self._rows.__getitem__, one.children or ()) if one is row else ()\n",
        "store",
    ),
    Bug(
        "a queue timeout ends a job between attempts",
        "a job that is to be retried fails because it waits",
        QUEUEING,
        "if expires is not None and row.state is State.QUEUED:",
        "if expires is not None:",
        "lives",
    ),
    Bug(
        "the saved value is lost",
        "a second attempt begins at the beginning",
        "stores/_leasing.py",
        "Claim(row.submission, row.attempt, row.spent, row.saved, seq,",
        "Claim(row.submission, row.attempt, row.spent, None, seq,",
        "store",
    ),
    Bug(
        "a claim answered after the end",
        "a process that leaves its registry crashes because a claim was answered late",
        "_running/worker.py",
        "        if self.closed:  # during the call of the store\n",
        "        if self.closed and self.paused:\n",
        "simulation",
    ),
    Bug(
        "the last tokens are dropped",
        "a completed job's stream lacks what was sent just before the end",
        "_running/channel.py",
        "        self._take(inf)\n",
        "",
        "simulation",
    ),
    Bug(
        "an end whose answer was lost is not repeated",
        "a job that completed runs again because one answer was lost",
        "stores/retrying.py",
        "        except StoreUnavailable as error:\n            failures += 1\n",
        "        except StoreUnavailable as error:\n            failures += 1\n            raise\n",
        "simulation",
    ),
    Bug(
        "more jobs run than the capacity",
        "with a capacity of two any number of jobs run",
        "_running/worker.py",
        "max(0, self.capacity - self.running - self._asked)",
        "self.capacity",
        "lives",
    ),
    Bug(
        "a cancellation counts as a failure",
        "a job that its user stopped is FAILED, and retried",
        "_running/outcome.py",
        "_CANCELS: Final = frozenset({Reason.USER, Reason.PARENT, Reason.UNREAD})",
        "_CANCELS: Final = frozenset({Reason.PARENT, Reason.UNREAD})",
        "lives",
    ),
]

_OTHERS = [
    *LIVED,
    *STORED,
    *LISTENED,
    *LIMITED,
    *PAUSED,
    *EXCLUDED,
    *RESUBMITTED,
    *NAMED,
    *FLOWING,
    *BULKED,
    *SENT,
    *STREAMED,
    *SHARED,
    *SERVED,
    *DAMAGED,
    *DATABASED,
    *LOST,
    *SIMULATED,
]
BUGS = [*_FIRST, *_OTHERS]
