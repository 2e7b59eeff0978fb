"""What the contract of a store says, one check for each claim, one file for each concern.

A check is an async function whose docstring is the claim. Its parameters say what it needs: `store` is an
empty store; `one` and `other` are two connections to one, for a durable store only; `open_durable` opens a
durable store, an empty one at first and the same one when it is called again; `keeper` is a store with
schedules, and may take the place of `one`; `limited` is one with limits, `pausing` one with pauses, `serving`
one with services; the jobs of `resubmitter` can be submitted again. `check_store` runs them all.
"""

from . import (
    awaiting,
    cancelling,
    claiming,
    closing,
    ending,
    exclusive,
    expiring,
    inputs,
    interrupting,
    leasing,
    limiting,
    limits,
    looking,
    pausing,
    reading,
    removing,
    reopening,
    resubmitting,
    scheduling,
    services,
    sharing,
    spawning,
    submitting,
    waiting,
    writing,
)
from ._races import first_error, race
from ._scenes import SCENES
from .kit import QUEUE_LIMIT, RETENTION, Opener

CONCERNS = (
    *(submitting, claiming, writing, ending, spawning, cancelling, leasing, expiring),
    *(
        inputs,
        awaiting,
        reading,
        looking,
        waiting,
        removing,
        scheduling,
        interrupting,
        closing,
        reopening,
        sharing,
    ),
    *(exclusive, limits, pausing, resubmitting, services),
)
"""In the order in which the author of a store implements them."""

NARROW = (limiting,)
"""These need a store with `QUEUE_LIMIT` and `RETENTION`."""

__all__ = ["CONCERNS", "NARROW", "QUEUE_LIMIT", "RETENTION", "SCENES", "Opener", "first_error", "race"]
