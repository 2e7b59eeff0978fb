"""Read `--token-file`, which says in lines of an owner and a token who may do what."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .faults import Fault

if TYPE_CHECKING:
    from ..serving.options import Authenticate, Caller

ANY_OWNER: Final = "*"
"""Written in place of an owner: the token gives access to the jobs of all."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+-]{16,}")  # fit for a header, and for a WebSocket's subprotocol
_LARGEST: Final = 2**20
_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP  # a service manager shows a group what it gives to one user


def authenticator(path: str) -> Authenticate:
    """Return a function that finds the caller of a request by its token; the file is read once.

    Args:
        path: The file: on each line an owner and a token, or `*` and a token; `#` begins a comment.

    Raises:
        Fault: The file cannot be read, others may read it, or a line is not of that form.
    """
    from ..serving import Caller

    callers = [(digest, Caller(owner)) for digest, owner in _tokens(path, _text(path)).items()]

    async def authenticate(headers: Mapping[str, str]) -> Caller | None:  # noqa: ASYNC124  # as servers ask
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        given = _digest(token.strip())
        found = None
        for digest, caller in callers:  # all are compared, so the time does not depend on the token
            if hmac.compare_digest(digest, given):
                found = caller
        return found

    return authenticate


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LARGEST + 1)
        text = data.decode()
    except OSError as error:
        raise Fault(f"--token-file {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise Fault(f"--token-file {path} is no text in UTF-8") from error
    if os.name == "posix" and mode & _OTHERS:
        raise Fault(f"--token-file {path} is open to others; close it with: chmod 600 {path}")
    if len(data) > _LARGEST:
        raise Fault(f"--token-file {path} is larger than a megabyte")
    return text


def _tokens(path: str, text: str) -> dict[bytes, str | None]:
    """Return the owner of each token, by its digest; None for the jobs of all."""
    found: dict[bytes, str | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        where = f"--token-file {path}, line {number}"
        if not words:
            continue
        if len(words) != 2:  # noqa: PLR2004  # an owner and a token
            raise Fault(f"{where}: write an owner and a token, or * and a token")
        owner, token = words
        if not _TOKEN.fullmatch(token):
            raise Fault(f"{where}: a token is 16 or more of A-Z a-z 0-9 . _ ~ + -; try openssl rand -hex 32")
        digest = _digest(token)
        if digest in found:
            raise Fault(f"{where}: a line above has the same token")
        found[digest] = None if owner == ANY_OWNER else owner
    if not found:
        raise Fault(f"--token-file {path} has no token, so every request would be refused")
    return found


def _digest(token: str) -> bytes:
    # Digests have one length, so that the time of a comparison does not depend on the token's.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
