"""A reader's place in a log that a server keeps."""

from __future__ import annotations

from typing import NoReturn

import trio

from .._common.errors import StreamGap
from .._model.job import Event
from .._watching.cursor import Place
from .._watching.readers import Policy
from .following import Following
from .link import Link
from .looking import history_of, last_seq_of, with_data


class RemotePlace(Place):
    """A reader's place in a log that a server keeps; see `Place`.

    Args:
        link: The connection to the server.
        job_id: Whose log it is.
        after: Where to begin.
        policy: What the handler does while this reader is slow.
    """

    def __init__(self, link: Link, job_id: str, after: int, policy: Policy) -> None:
        super().__init__(job_id, after, policy)
        self._link = link
        self._conversation = link.conversation
        self._follow: Following
        self._told = False
        self._taken: list[Event] = []

    async def open(self) -> None:
        """See `Place.open`."""
        self._link.check_open()
        self._follow = self._conversation.follow(self.job_id, self.cursor, self.policy)
        self._open = True
        try:
            last_seq = await last_seq_of(self._link, self.job_id)
        except BaseException:
            self.close()
            raise
        if self.cursor > last_seq:
            self.close()
            raise StreamGap(self.job_id, last_seq + 1, self.cursor, last_seq)

    async def last(self) -> Event:
        """See `Place.last`."""
        return (await history_of(self._link, self.job_id))[-1]

    async def _more(self) -> list[Event]:
        follow = self._follow
        self._link.check_open()
        await trio.lowlevel.checkpoint()
        if self._told:
            self._told = False
            self._conversation.refollow(follow)
        while self._open:
            self._taken = self._taken or follow.take()
            if self._taken or follow.ended:
                # Cancelled here, they come again.
                events = await with_data(self._link, self.job_id, self._taken)
                self._taken = []
                if events or follow.ended:
                    return events
                continue
            self._conversation.was_read(follow)
            if follow.error is not None:
                self._tell(follow.error)
            with self._link.patience():
                await follow.bell.wait()
        return []

    def _tell(self, error: Exception) -> NoReturn:
        """Tell the reader once why the log is not read on; whoever then asks again begins anew."""
        if isinstance(error, StreamGap):
            self.cursor = error.oldest
        self._follow.resume(self.cursor)
        self._told = True
        raise error

    def _moved(self) -> None:
        self._follow.read(self.cursor)
        self._conversation.was_read(self._follow)

    def _leave(self) -> None:
        self._conversation.drop(self._follow)
        self._follow.bell.ring()
