"""A file of tokens defines the rights of callers, and each mistake in it is reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from trio_jobs.cli.faults import Fault
from trio_jobs.cli.tokens import authenticator
from trio_jobs.serving import Caller

ALICE, BOB, ROOT = "alice-0123456789abcdef", "bob-0123456789abcdef", "root-0123456789abcdef"
LINES = f"""
# who may do what
alice {ALICE}
bob   {BOB}   # on holiday
*     {ROOT}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file of tokens that only its owner can read."""
    path = tmp_path / "tokens"
    path.write_text(LINES, encoding="utf-8")
    path.chmod(0o600)
    return path


def caller(file: Path, headers: dict[str, str]) -> Caller | None:
    async def ask() -> Caller | None:
        return await authenticator(str(file))(headers)

    return trio.run(ask)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"Bearer {ALICE}", Caller("alice")),
        (f"bearer  {BOB} ", Caller("bob")),
        (f"Bearer {ROOT}", Caller(None)),
        (f"Bearer {ALICE}x", None),
        (f"Bearer {ALICE[:-1]}", None),
        (f"Basic {ALICE}", None),
        (ALICE, None),
        ("Bearer", None),
        ("Bearer *", None),
        ("Bearer alice", None),
        ("Bearer \udcff\xff", None),
        ("", None),
    ],
)
def test_a_token_stands_for_its_owner(file: Path, value: str, found: Caller | None) -> None:
    """A token gives the rights of its line's owner, `*` gives all rights, and any other text none."""
    assert caller(file, {"authorization": value}) == found


def test_no_token_is_nobody(file: Path) -> None:
    """Without the header there is no caller, whatever else is sent."""
    assert caller(file, {"cookie": ALICE}) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alice\n", "line 1: write an owner and a token"),
        (f"\nalice {ALICE} {BOB}\n", "line 2: write an owner and a token"),
        ("alice short\n", "line 1: a token is 16 or more of"),
        (f"alice {ALICE}/\n", "line 1: a token is 16 or more of"),
        (f"alice {ALICE}\nbob {ALICE}\n", "line 2: a line above has the same token"),
        ("", "has no token"),
        ("# none\n", "has no token"),
        (b"\xff\xfe", "is no text in UTF-8"),
        (b"#" * 2**20 + b"\n", "is larger than a megabyte"),
    ],
)
def test_a_line_that_means_nothing_is_told(file: Path, text: str | bytes, said: str) -> None:
    """A file with a wrong line is refused by the line's number, without a token in the error."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Fault, match=said) as caught:
        authenticator(str(file))
    assert ALICE not in str(caught.value)
    assert caught.value.status == 2


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The error has the option, the file and the reason."""
    with pytest.raises(Fault, match=r"--token-file .*missing: No such file"):
        authenticator(str(tmp_path / "missing"))


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.parametrize(("mode", "fine"), [(0o600, True), (0o440, True), (0o604, False), (0o620, False)])
def test_a_file_that_others_can_read_is_refused(file: Path, mode: int, fine: bool) -> None:
    """Only the owner may write the file, and only the owner and the group may read it."""
    file.chmod(mode)
    if fine:
        assert caller(file, {"authorization": f"Bearer {ALICE}"}) == Caller("alice")
    else:
        with pytest.raises(Fault, match="chmod 600"):
            authenticator(str(file))
