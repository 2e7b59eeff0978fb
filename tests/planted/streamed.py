"""Bugs of senders and readers: windows, channels, gaps, restarts, and calls that are cut off."""

from __future__ import annotations

from tests.planted.bug import Bug

READERS, CURSOR, STREAMS = "_watching/readers.py", "_watching/cursor.py", "_watching/streams.py"
WRITER, CHANNEL, DEADLINES = "_running/writer.py", "_running/channel.py", "_running/deadlines.py"

STREAMED = [
    Bug(
        "who leaves wakes nobody",
        "a handler waits for ever for a reader that has left",
        READERS,
        "        self._floor = 0\n        self._room.ring()\n        self._mind",
        "        self._floor = 0\n        self._mind",
        "streams",
    ),
    Bug(
        "a late reader counts at once",
        "a job stands still when somebody opens its log at the beginning",
        READERS,
        "if last_seq - reader.cursor > self._window:",
        "if False:",
        "streams",
    ),
    Bug(
        "a late reader never draws level",
        "a handler runs away from a reader that is to hold it",
        READERS,
        "            del self._behind[reader]\n            self._floor = 0\n",
        "            self._floor = 0\n",
        "streams",
    ),
    Bug(
        "the fastest reader counts",
        "a slow reader that is to hold the handler does not",
        READERS,
        "self._floor = min(\n",
        "self._floor = max(\n",
        "streams",
    ),
    Bug(
        "readers that take gaps hold the handler",
        "one slow browser stops a job for everybody",
        READERS,
        'r.policy == "block" and r not in',
        "r not in",
        "streams",
    ),
    Bug(
        "an unread job pauses before a reader that takes gaps",
        "a job that somebody watches stands still as if nobody did",
        READERS,
        "if pauses and not self._readers else",
        "if pauses else",
        "streams",
    ),
    Bug(
        "the linger time runs while somebody reads",
        "a job is cancelled as unread before the eyes of its reader",
        READERS,
        "clocks.unread(None if self._readers else options.linger)",
        "clocks.unread(options.linger)",
        "streams",
    ),
    Bug(
        "clocks run while a send waits for a reader",
        "a job times out as silent because its reader is slow",
        READERS,
        "with self._attempt[0].standing_still():",
        "if True:",
        "streams",
    ),
    Bug(
        "a burst is as long as the window",
        "`send_many` runs ahead of a reader by up to two windows",
        WRITER,
        "max(0, self._room() - 1)",
        "self._readers.window - 1",
        "streams",
    ),
    Bug(
        "a cancelled send has sent",
        "what a handler takes for not sent, and sends again, is in the log twice",
        WRITER,
        "        if not waited:\n            await trio.lowlevel.cancel_shielded_checkpoint()",
        "        if not waited:\n            await trio.lowlevel.checkpoint()",
        "streams",
    ),
    Bug(
        "the channel minds no window",
        "a library that sends through `job.tokens` is held by nobody",
        WRITER,
        "        await self._wait_room()\n        return self._room()",
        "        return self._readers.window",
        "streams",
    ),
    Bug(
        "the channel is not bounded",
        "a job that is held by a reader fills the memory",
        CHANNEL,
        "trio.open_memory_channel[Any](window)",
        "trio.open_memory_channel[Any](inf)",
        "streams",
    ),
    Bug(
        "many values go on over the end of an attempt",
        "`receive_many` hands out what is no value of the job's",
        CURSOR,
        "if event.kind is not Kind.TOKEN or event.seq",
        "if event.kind is Kind.COMPLETED or event.seq",
        "streams",
    ),
    Bug(
        "a receive takes before it gives others a turn",
        "a value is lost when `receive` is cancelled",
        STREAMS,
        "        values = [await self.receive()]\n"
        "        values += (event.data for event in self._cursor.pull_tokens())\n",
        "        values = [await self.receive()]\n"
        "        values += (event.data for event in self._cursor.pull_tokens())\n"
        "        await trio.lowlevel.checkpoint()\n",
        "streams",
    ),
    Bug(
        "who resumes at the end is told that all is well",
        "the stream of a job that failed ends quietly for a reader that comes back",
        STREAMS,
        "                event = await cursor.last()\n",
        "                raise trio.EndOfChannel\n",
        "streams",
    ),
    Bug(
        "a gap is silent",
        "a reader that was overtaken takes half a text for a whole one",
        CURSOR,
        "        if gap:\n            raise StreamGap",
        "        if False:\n            raise StreamGap",
        "streams",
    ),
    Bug(
        "a cursor ahead of the log is taken",
        "a reader with the cursor of another job waits for ever",
        STREAMS,
        "        if self.cursor > last_seq:",
        "        if False:",
        "streams",
    ),
    Bug(
        "the second attempt begins unannounced",
        "the text of a retry is glued to what the first attempt sent",
        STREAMS,
        "event.attempt > 1 and self._restarts",
        "event.attempt > 2 and self._restarts",
        "streams",
    ),
    Bug(
        "what a clock had left is forgotten",
        "a silent handler is never stopped, once a reader has held it",
        DEADLINES,
        "                for clock, seconds in self._left.items():\n"
        "                    self.set(clock, seconds)\n",
        "                self._left = {}\n",
        "streams",
    ),
    Bug(
        "progress does not wait until it is written",
        "`progress` returns, and a reader that looks does not find it",
        WRITER,
        "            await channel.send(entry)\n            await entry.wait()",
        "            await channel.send(entry)",
        "file-streams",
    ),
]
