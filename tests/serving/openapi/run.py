"""Test a real server against its OpenAPI document: `python tests/serving/openapi/run.py`.

Schemathesis makes requests that the document allows and requests that it forbids, and checks each response:
that the document has it, that it has the documented form, and that it fits the request.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 60  # after which no further request is made


@contextmanager
def serving(folder: Path, token: str) -> Generator[str]:
    """Serve jobs in a folder, for callers with the token, and yield the address."""
    tokens = folder / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(f"* {token}\n", encoding="utf-8")
    command = [sys.executable, "-m", "trio_jobs", "serve", "program", "--token-file", str(tokens)]
    command += ["--port", "0", "--store", f"sqlite:///{folder / 'jobs.db'}", "--grace", "0"]
    log = folder / "log"  # not a pipe, which would fill up and stop the server
    with log.open("w") as file, subprocess.Popen(command, cwd=HERE, stderr=file) as server:
        try:
            while (told := re.search(r"the page is at (\S+)/;", log.read_text(encoding="utf-8"))) is None:
                with suppress(subprocess.TimeoutExpired):
                    status = server.wait(timeout=0.1)
                    raise AssertionError(f"the server ended with {status}: {log.read_text(encoding='utf-8')}")
            yield told[1]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)
            print(log.read_text(encoding="utf-8")[-5000:], end="")


def main(options: Sequence[str]) -> int:
    """Run schemathesis against a server, with further options of `st run`, and return its exit status."""
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), token) as url:
        st = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")]
        run = ["run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {token}"]
        bounds = ["--max-time", str(SECONDS), "--max-examples", "15", "--request-timeout", "10", "--no-color"]
        if seed := os.environ.get("GATES_SEED"):
            bounds += ["--seed", seed]
        env = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
        return subprocess.run([*st, *run, *bounds, *options], env=env, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
