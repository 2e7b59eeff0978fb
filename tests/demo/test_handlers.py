"""The demo's jobs, in virtual time; those with a child process, in real time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_jobs import Kind, Reason, Retry, State, Timeouts, open_registry
from trio_jobs.demo.handlers import BREAK, babble, heartbeat, resume, stall, tally, words

TEXT = ["the", "cat", "sat", "on", "the", "mat", "and", "the", "dog", "sat", "on", "the", "cat"]

# Few different words make many repetitions, dead ends and texts of a single word.
texts = st.lists(st.sampled_from(["a", "b", "c", "d", "e."]), min_size=1, max_size=30)


async def streamed(handler: Any, *args: Any) -> list[str]:
    """Run a handler as a job, and return the tokens it sent."""
    async with open_registry() as jobs:
        handle = await jobs.submit(handler, *args)
        async with handle.stream() as tokens:
            return [token async for token in tokens]


def at_once(handler: Any, *args: Any) -> list[str]:
    """Run a handler as a job in virtual time, and return the tokens it sent."""
    return trio.run(streamed, handler, *args, clock=MockClock(autojump_threshold=0))


@given(texts, st.integers(1, 40), st.integers())
def test_babble_streams_pairs_of_its_text(text: list[str], count: int, seed: int) -> None:
    """It streams as many words as given, and words without a break between them were neighbours."""
    tokens = at_once(babble, text, count, seed, 0.01)
    pairs = set(pairwise(text))
    assert len([token for token in tokens if token != BREAK]) == count
    assert tokens[0] in text
    for before, after in pairwise(tokens):
        if before == BREAK:
            assert after in text
        elif after == BREAK:
            assert before not in {first for first, _ in pairs}
        else:
            assert (before, after) in pairs


@given(texts, st.integers())
def test_babble_is_determined_by_its_seed(text: list[str], seed: int) -> None:
    """The same seed gives the same words."""
    assert at_once(babble, text, 20, seed, 0.01) == at_once(babble, text, 20, seed, 0.5)


def test_babble_depends_on_its_seed() -> None:
    """Another seed gives other words."""
    assert len({tuple(at_once(babble, TEXT, 20, seed, 0.01)) for seed in range(5)}) > 1


@given(texts)
def test_babble_learns_every_pair(text: list[str]) -> None:
    """Reading in portions loses no pair at their edges: the result has the number of pairs of the text."""

    async def main() -> int:
        async with open_registry() as jobs:
            return await (await jobs.submit(babble, text, 1, 0, 0.0)).result()

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == len(text) - 1


async def test_babble_says_how_far_it_is(autojump_clock: MockClock) -> None:
    """Its progress rises to the whole text while it reads, and to the last word while it writes."""
    async with open_registry() as jobs:
        handle = await jobs.submit(babble, TEXT, 5, 0, 0.1)
        async with handle.events() as events:
            notes = [event.data async for event in events if event.kind is Kind.PROGRESS]
    reading = [note.done for note in notes if note.message == "reading"]
    writing = [note.done for note in notes if note.message == "writing"]
    assert reading == sorted(reading)
    assert reading[-1] == len(TEXT)
    assert writing == [1, 2, 3, 4, 5]


async def test_resume_goes_on_where_it_broke(autojump_clock: MockClock) -> None:
    """The first attempt fails half-way, the second sends the rest, and no part is sent twice."""
    async with open_registry() as jobs:
        handle = await jobs.submit(resume, 7, 0.1, retry=Retry(attempts=3, on=ConnectionError))
        async with handle.stream(restarts="continue") as tokens:
            assert [token async for token in tokens] == [f"part {number}" for number in range(1, 8)]
        assert await handle.result() == 3
        assert (await handle.snapshot()).attempt == 2


async def test_stall_is_what_an_idle_timeout_is_for(autojump_clock: MockClock) -> None:
    """It sends its text, and then nothing until the idle timeout ends it."""
    async with open_registry() as jobs:
        handle = await jobs.submit(stall, TEXT, 0.1, timeouts=Timeouts(idle=5))
        job = await handle.wait()
        async with handle.events() as events:
            tokens = [event.data async for event in events if event.kind is Kind.TOKEN]
    assert (job.state, job.reason) == (State.FAILED, Reason.IDLE_TIMEOUT)
    assert tokens == TEXT


async def test_tally_counts_in_a_process() -> None:
    """The child process counts the words, the most frequent first, in any script."""
    text = words("drei drei drei zwei zwei 漢字")
    assert await streamed(tally, text, 9, 0.0) == ["drei 3", "zwei 2", "漢字 1"]


async def test_heartbeat_lets_its_process_say_goodbye() -> None:
    """Cancelled with grace, it lets its process end by itself before it is cancelled."""
    async with open_registry() as jobs:
        handle = await jobs.submit(heartbeat, 0.01)
        async with handle.events() as events:
            async for event in events:
                if event.data == "beat 3":
                    break
            # The grace is cut short below: time decides nothing here.
            await handle.request_cancel(grace=60)
            farewell = []
            async for event in events:
                if event.data == "process ended":
                    break
                if event.kind is Kind.TOKEN:
                    farewell.append(event.data)
        report = await handle.cancel()
    assert farewell[-1].startswith("good-bye after")
    assert report.outcome == "cancelled"


async def test_heartbeat_leaves_no_process_if_there_is_no_grace() -> None:
    """Cancelled at once, it ends only after its process."""
    with trio.fail_after(30):
        async with open_registry() as jobs:
            handle = await jobs.submit(heartbeat, 0.01)
            async with handle.stream() as tokens:
                await tokens.receive()
            assert (await handle.cancel()).outcome == "cancelled"


@given(st.text())
def test_words_are_fit_for_a_terminal(text: str) -> None:
    """A word is printable, has a letter or a digit in it, and no space."""
    for word in words(text):
        assert word.isprintable()
        assert " " not in word
        assert any(char.isalnum() for char in word)
        assert word != BREAK
