"""Bad input ends neither a session nor a server. `fuzz.py` sends more of it."""

from __future__ import annotations

import os
import random

import pytest

from tests.serving.fuzz import fuzz_live, fuzz_session, main
from trio_jobs.serving.websocket.session import Session

SESSION_INPUTS = int(os.environ.get("TRIO_JOBS_FUZZ_INPUTS", "5000"))
LIVE_INPUTS = int(os.environ.get("TRIO_JOBS_FUZZ_LIVE", "200"))


def test_a_session_answers_everything() -> None:
    """For any input, a session returns a step, keeps its counts, and accepts valid requests."""
    steps = fuzz_session(random.getrandbits(32), SESSION_INPUTS)
    assert {"Perform", "StartFollow", "Stop", "ResumeFollow", "Reply", "Close", "NoneType"} <= steps.keys(), (
        steps
    )


@pytest.mark.deep
async def test_servers_serve_on() -> None:
    """After any input at its port, a server still serves, and logs no error of its own."""
    await fuzz_live(random.getrandbits(32), LIVE_INPUTS)


def test_a_fault_is_found_and_can_be_had_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that answers another request is found, and the note has the command to repeat it."""
    monkeypatch.setattr(Session, "answered", lambda self, re, fields: self.unfollowed(re + 1))
    with pytest.raises(AssertionError) as caught:
        fuzz_session(7, 5000)
    (note,) = caught.value.__notes__
    command = note.rpartition("again: python tests/serving/")[2].split()
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(AssertionError) as again:
        main()
    assert again.value.__notes__ == [note]
