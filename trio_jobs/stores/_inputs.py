"""Keep account of what one job in memory has of inputs: what is consumed, how much is not, and their ids."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping
from operator import itemgetter
from typing import Final

from .._common.bell import Bell
from .rules import Inbox


class Inputs:
    """The inputs of a job that has had one, or that a task listens for. Their events are in its log.

    Attributes:
        last: The `seq` of the newest `input` or `inputs_ended`; 0 for none.
        ended: The `seq` of `inputs_ended`; 0 as long as inputs may come.
        consumed: The `seq` of the last input that is consumed; 0 for none.
        received: That of the last input that the newest attempt received, as far as is known.
        size: The weight of the unconsumed inputs.
        seqs: Those of `input` and `inputs_ended` that are in the log, rising.
        ids: The last `seq` of the inputs of an id, and how many they are, in the order of arrival.
        weights: The weight of each unconsumed input, by `seq`, rising.
        listeners: Rings with each of these events, once a task waits for one.
    """

    last = ended = consumed = received = size = 0
    listeners: Bell | None = None

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.ids: dict[str, tuple[int, int]] = {}
        self.weights: dict[int, int] = {}

    def state(self) -> Inbox:
        """Return what `check_send` asks for."""
        received = 0  # which takes long to count
        if self.received > self.consumed:
            received = sum(seq <= self.received for seq in self.weights)
        return Inbox(len(self.weights), received, self.size, self.ended > 0)

    def add(self, seq: int, weight: int) -> None:
        """Note an input."""
        self.weights[seq] = weight
        self.size += weight
        self.last = seq
        self.seqs.append(seq)
        if self.listeners is not None:
            self.listeners.ring()

    def end(self, seq: int) -> None:
        """Note that no more inputs will come."""
        self.add(seq, 0)
        del self.weights[seq]
        self.ended = seq

    def consume(self, received: int) -> Mapping[int, int]:
        """Note that inputs up to `received` are consumed, and return the weights of those new by `seq`."""
        self.consumed = max(self.consumed, received)
        rising = [*self.weights.items()]
        place = bisect_right(rising, received, key=itemgetter(0))
        done, self.weights = dict(rising[:place]), dict(rising[place:])
        self.size -= sum(done.values())
        return done

    def keep(self, kept: Collection[int], before: int) -> None:
        """Forget what was dropped of the log: what was there up to the `seq` `before`, and was not `kept`."""
        self.seqs = [seq for seq in self.seqs if seq > before or seq in kept]
        oldest = self.seqs[0] if self.seqs else self.last + 1
        for known in [known for known, (seq, _) in self.ids.items() if seq < oldest]:
            del self.ids[known]


NONE: Final = Inputs()
"""The inputs of all jobs that have had none and that no task listens for. It never changes."""
