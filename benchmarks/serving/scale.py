"""How much is measured."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

BURST = 64
EACH, BURSTS = "send each", f"bursts of {BURST}"
PATTERNS = {EACH: 1, BURSTS: BURST}


@attrs.frozen
class Scale:
    """How much is measured, and how often.

    Attributes:
        tokens: How many a client hears, by how many clients there are.
        more: How many times as many it hears of us, who need less time for them.
        singles: Tokens at low rate.
        pause: Seconds between two of them.
        followers: How many follow one job that sends at low rate, and how many tokens they hear.
        streams: How many streams at 20 tokens/s are tried first, and at most, and how many tokens each has.
        connections: How many are weighed.
        rounds: How often everything is measured, in turn.
    """

    tokens: Mapping[int, int] = {1: 10_000, 100: 200, 1000: 40}
    more: Mapping[str, int] = {EACH: 4, BURSTS: 16}
    singles: int = 200
    pause: float = 0.02
    followers: Mapping[int, int] = {1: 200, 100: 200, 1000: 100, 2000: 100}
    streams: tuple[int, int, int] = (200, 4000, 60)
    connections: int = 1000
    rounds: int = 3

    @property
    def files(self) -> int:
        """How many files, sockets among them, the clients or a server may have open at once."""
        return max(*self.tokens, *self.followers, self.streams[1], self.connections) + 200
