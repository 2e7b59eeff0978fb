"""Bugs of serving, which sessions of peers with a server reveal."""

from __future__ import annotations

from tests.planted.bug import Bug

ACCOUNT, ACCESS, FEED, DESK = (f"serving/{name}.py" for name in ("account", "access", "feed", "operations"))
ANSWERS, CONTEXT, LIMITS = (f"serving/{name}.py" for name in ("answers", "context", "limits"))
SESSION, CONNECTION = "serving/websocket/session.py", "serving/websocket/connection.py"

SERVED = [
    Bug(
        "one call more than may be open",
        "a connection has more calls under way than its limit",
        SESSION,
        "elif self.unanswered >= limits.calls:",
        "elif self.unanswered > limits.calls:",
        "serving",
    ),
    Bug(
        "the id of a wait is never freed",
        "a client that waits for one job after another gets the error that its ids are in use",
        SESSION,
        "        self._follows.pop(re, None)\n",
        "",
        "serving",
    ),
    Bug(
        "a peer that reads no answers may send more requests",
        "the server carries out any number of requests of a peer that reads nothing",
        CONNECTION,
        "while self._unsent_answers and self._unsent_answers + self._session.unanswered >= calls:",
        "while self._unsent_answers >= 10**9:",
        "serving",
    ),
    Bug(
        "the rest of a frame is sent with the next one",
        "a follower with a full buffer gets a part of an event, and the rest with the next one",
        FEED,
        "return not outlet.waiting and subscription.room != 0",
        "return True",
        "serving",
    ),
    Bug(
        "events that were sent in a round are sent again",
        "a follower gets events twice",
        FEED,
        "            return False\n        subscription.moved(batch.last)\n",
        "            return False\n",
        "serving",
    ),
    Bug(
        "room that is given back wakes no request",
        "answers wait for ever behind one that was sent",
        ACCOUNT,
        "        if by < 0:\n            self._freed.ring()",
        "        pass",
        "serving",
    ),
    Bug(
        "a request that fails keeps its room",
        "after some errors the server answers nothing any more",
        ACCOUNT,
        "        try:\n            yield resize\n        finally:\n            resize(0)",
        "        yield resize\n        resize(0)",
        "serving",
    ),
    Bug(
        "one connection more than an address may have",
        "an address has one connection too many",
        ACCESS,
        "self.seats.by_client[client] >= self._limits.per_client",
        "self.seats.by_client[client] > self._limits.per_client",
        "serving",
    ),
    Bug(
        "any caller may read the history of a job",
        "a caller reads the history of another owner's job",
        DESK,
        "        handle, _ = await self._handle(caller, job_id)\n        return await handle.history()",
        "        handle = await self._jobs.get(job_id)\n        return await handle.history()",
        "serving",
    ),
    Bug(
        "any caller may wait for a job",
        "a caller learns that another owner's job exists, and when it ends",
        DESK,
        "        handle, _ = await self._handle(caller, job_id)\n        await handle.wait()",
        "        handle = await self._jobs.get(job_id)\n        await handle.wait()",
        "serving",
    ),
    Bug(
        "no follower leads when the first one stops",
        "the other followers of a job get no events any more",
        FEED,
        "self._dismiss(tuple(self._level)[:1])  # the next",
        "self._dismiss(())  # the next",
        "serving",
    ),
    Bug(
        "a connection is still counted after an exception",
        "after some handshakes that failed, an address can open no connection",
        LIMITS,
        (
            "        try:\n"
            "            yield\n"
            "        finally:\n"
            "            self.total -= 1\n"
            "            self.by_client[client] -= 1\n"
            "            if not self.by_client[client]:\n"
            "                del self.by_client[client]"
        ),
        "        yield\n        self.total -= 1\n        self.by_client[client] -= 1",
        "serving",
    ),
    Bug(
        "a list shows the jobs of all owners",
        "a caller sees jobs of others",
        DESK,
        '        fields["owner"] = caller.owner\n',
        "",
        "serving",
    ),
    Bug(
        "a list ends with its first page",
        "jobs are missing",
        ANSWERS,
        '"next": to_json(page.next)}',
        '"next": to_json(None)}',
        "serving",
    ),
    Bug(
        "idle connections stay open when the server stops",
        "a stop takes all of its grace, though there is no request",
        CONTEXT,
        '        for scope in self._scopes:\n            scope.cancel(reason="the server stops")',
        "        self._scopes.clear()",
        "serving",
    ),
    Bug(
        "a follower stays among a job's readers",
        "a job waits for a reader that has left",
        FEED,
        "            feed.readers.leave(subscription)\n",
        "",
        "serving",
    ),
    Bug(
        "a wait returns at once",
        "a client gets the end of a job that still runs",
        DESK,
        "        await handle.wait()",
        "        await handle.snapshot()",
        "serving",
    ),
    Bug(
        "inputs are accepted from callers to whom the job does not belong",
        "a caller gives inputs to another's job",
        DESK,
        """        handle, job = await self._handle(caller, asked.job)
        inputs =""",
        """        handle, job = await look_up(self._jobs, asked.job)
        inputs =""",
        "serving",
    ),
    Bug(
        "inputs of one connection overtake each other",
        "a job gets inputs in another order than that in which a client sent them",
        CONNECTION,
        """                    if running.before is not None:
                        await running.before.done.wait()
""",
        "",
        "serving",
    ),
]
