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
        "the id of a wait is never free again",
        "a client that waits for one job after another is told that its ids are in use",
        SESSION,
        "        self._follows.pop(re, None)\n",
        "",
        "serving",
    ),
    Bug(
        "who takes no answers may ask on",
        "a peer that reads nothing has the server do everything it can think of",
        CONNECTION,
        "while self._unsent_answers and self._unsent_answers + self._session.unanswered >= calls:",
        "while self._unsent_answers >= 10**9:",
        "serving",
    ),
    Bug(
        "the rest of a frame waits for the next one",
        "a follower with a full buffer gets half of an event, and the rest when another one comes",
        FEED,
        "return not outlet.waiting and subscription.room != 0",
        "return True",
        "serving",
    ),
    Bug(
        "what was sent in a round is sent again",
        "a follower gets events twice",
        FEED,
        "            return False\n        subscription.moved(batch.last)\n",
        "            return False\n",
        "serving",
    ),
    Bug(
        "room that is free again is told to nobody",
        "answers wait for ever behind one that was taken",
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
        "an address has one seat too many",
        ACCESS,
        "self.seats.by_client[client] >= self._limits.per_client",
        "self.seats.by_client[client] > self._limits.per_client",
        "serving",
    ),
    Bug(
        "anybody may read the history of a job",
        "a caller sees what happened to somebody else's job",
        DESK,
        "        handle, _ = await self._handle(caller, job_id)\n        return await handle.history()",
        "        handle = await self._jobs.get(job_id)\n        return await handle.history()",
        "serving",
    ),
    Bug(
        "anybody may wait for a job",
        "a caller learns that a job of somebody else's exists, and when it ends",
        DESK,
        "        handle, _ = await self._handle(caller, job_id)\n        await handle.wait()",
        "        handle = await self._jobs.get(job_id)\n        await handle.wait()",
        "serving",
    ),
    Bug(
        "nobody reads on when the first follower stops",
        "the other followers of a job hear nothing any more",
        FEED,
        "self._dismiss(tuple(self._level)[:1])  # the next",
        "self._dismiss(())  # the next",
        "serving",
    ),
    Bug(
        "a seat stays taken after an exception",
        "after some connections that broke in their handshake, an address has no place left",
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
        "a list shows everybody's jobs",
        "a caller sees jobs of others",
        DESK,
        '        if caller.owner is not None:\n            where["owner"] = caller.owner',
        "        pass",
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
        "idle connections outlive the server's stop",
        "a stop takes all of its grace, though nobody asks for anything",
        CONTEXT,
        '        for scope in self._scopes:\n            scope.cancel(reason="the server stops")',
        "        self._scopes.clear()",
        "serving",
    ),
    Bug(
        "a follower stays among a job's readers",
        "a job waits for a reader who has left",
        FEED,
        "            feed.readers.leave(subscription)\n",
        "",
        "serving",
    ),
    Bug(
        "a wait returns at once",
        "a client takes a job that runs for one that has ended",
        DESK,
        "        await handle.wait()",
        "        await handle.snapshot()",
        "serving",
    ),
]
