"""`trio-jobs serve`: jobs, HTTP, WebSocket and the page in one process, which stops in order, or by force."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio_websocket
import trustme

ALICE, BOB, ROOT = "alice-0123456789abcdef", "bob-0123456789abcdef", "root-0123456789abcdef"


def submit(url: str, handler: str, *args: Any, **headers: str) -> str:
    """Submit a job over HTTP, and return its id."""
    answer = httpx2.post(f"{url}/v1/jobs", json={"handler": handler, "args": args}, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def lines(response: httpx2.Response) -> Iterator[tuple[str, str]]:
    """Return each server-sent event as its kind and its data."""
    for event in httpx2.EventSource(response):
        if event.data:
            yield event.event, event.data


@asynccontextmanager
async def websocket(url: str) -> AsyncGenerator[trio_websocket.WebSocketConnection]:
    """Connect to a server's WebSocket over a stream that is always closed."""
    address = httpx2.URL(url)
    stream = await trio.open_tcp_stream(address.host, address.port or 0)
    async with stream, trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(
            nursery, stream, address.netloc.decode(), "/v1/ws", subprotocols=["trio-jobs.v1"]
        )
        yield socket
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------ it serves


def test_one_command_is_worker_server_and_page(cli: Any) -> None:
    """A job that is submitted over HTTP runs, is read over HTTP and WebSocket, and is in the file."""
    _, url = cli.start_server()
    job_id = submit(url, "add", 1, 2)
    with httpx2.stream("GET", f"{url}/v1/jobs/{job_id}/stream") as response:
        events = list(lines(response))
    assert [data for kind, data in events if kind == "token"] == ["1", "2"]
    assert events[-1] == ("completed", "[DONE]")

    async def over_websocket() -> Any:
        async with websocket(url) as socket:
            await socket.send_message(json.dumps({"op": "get", "id": 1, "job": job_id}))
            return json.loads(await socket.get_message())

    assert trio.run(over_websocket)["job"]["result"] == 3
    page = httpx2.get(f"{url}/")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert json.loads(cli("show", job_id, "--json")[1])["result"] == 3


@pytest.mark.parametrize("on", [True, False])
def test_openais_clients_are_served_if_asked_for(cli: Any, on: bool) -> None:
    """With `--openai` the paths of that protocol are there; without, they are not."""
    _, url = cli.start_server(*["--openai"] * on)
    assert httpx2.get(f"{url}/v1/models").status_code == (200 if on else 404)


@pytest.mark.parametrize("on", [True, False])
def test_tools_are_served_if_asked_for(cli: Any, on: bool) -> None:
    """With `--mcp` the path of that protocol is there, and reads what it is sent; without, it is not."""
    _, url = cli.start_server(*["--mcp"] * on)
    assert httpx2.post(f"{url}/mcp", json={}).status_code == (400 if on else 404)


@pytest.mark.parametrize("on", [True, False])
def test_streams_of_another_protocol_are_served_if_asked_for(cli: Any, on: bool) -> None:
    """With `--durable-streams` a log is read by that protocol, too; without, it is not."""
    _, url = cli.start_server(*["--durable-streams"] * on)
    answer = httpx2.get(f"{url}/v1/streams/{submit(url, 'add', 1, 2)}")
    assert ("stream-next-offset" in answer.headers) == on


@pytest.mark.parametrize("on", [True, False])
def test_requests_are_logged_if_asked_for(cli: Any, on: bool) -> None:
    """With `--access-log` each request is a line, at any level of the rest; without, there is none."""
    server, url = cli.start_server(*["--access-log"] * on)
    assert httpx2.get(f"{url}/healthz").status_code == 200
    server.terminate()
    assert server.wait(60) == 143
    said = server.stderr.read()
    assert ("INFO trio_jobs.access: 127.0.0.1 GET /healthz 200 in 0." in said) == on
    assert "trio_jobs.job" not in said


def test_what_was_submitted_elsewhere_runs_here(cli: Any) -> None:
    """The server runs jobs that other processes submitted to its file."""
    job_id = cli.submit("add", "1", "2")
    _, url = cli.start_server("--capacity", "1")
    with httpx2.stream("GET", f"{url}/v1/jobs/{job_id}/stream") as response:
        assert list(lines(response))[-1] == ("completed", "[DONE]")


def test_jobs_may_live_in_memory(cli: Any) -> None:
    """With a store in memory the server makes no file."""
    _, url = cli.start_server("--store", "memory://")
    submit(url, "add", 1, 2)
    assert not (cli.folder / "jobs.db").exists()


@pytest.mark.deep
def test_it_goes_by_the_names_it_is_told(cli: Any) -> None:
    """A Host and an Origin of other names are refused, unless they are allowed by name."""
    _, url = cli.start_server("--allow-host", "jobs.example", "--allow-origin", "https://app.example")
    job = {"handler": "add", "args": [1, 2]}
    for headers, status in (
        ({"host": "jobs.example"}, 202),
        ({"host": "evil.example"}, 421),
        ({"origin": "https://app.example"}, 202),
        ({"origin": "https://evil.example"}, 403),
    ):
        assert httpx2.post(f"{url}/v1/jobs", json=job, headers=headers).status_code == status, headers


@pytest.mark.deep
def test_tokens_say_who_sees_what(cli: Any) -> None:
    """Without a token every request is refused; each owner sees its own jobs, and `*` all."""
    file = cli.folder / "tokens"
    file.write_text(f"alice {ALICE}\nbob {BOB}\n* {ROOT}\n", encoding="utf-8")
    file.chmod(0o600)
    _, url = cli.start_server("--token-file", "tokens")
    job_id = submit(url, "add", 1, 2, **bearer(ALICE))
    job = f"{url}/v1/jobs/{job_id}"
    assert httpx2.get(job).status_code == 401
    assert [httpx2.get(job, headers=bearer(token)).status_code for token in (ALICE, BOB, ROOT)] == [
        200,
        404,
        200,
    ]
    assert json.loads(cli("show", job_id, "--json")[1])["owner"] == "alice"


def test_it_speaks_tls(cli: Any) -> None:
    """With a certificate the server accepts https only."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(cli.folder / "key.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(cli.folder / "cert.pem"), append=True)
    _, url = cli.start_server("--certfile", "cert.pem", "--keyfile", "key.pem")
    assert url.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    assert httpx2.get(f"{url}/healthz", verify=trusting).status_code == 200
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{url}/healthz".replace("https", "http", 1))


# ------------------------------------------------------------ it stops


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once(cli: Any, number: signal.Signals) -> None:
    """The status names the signal, and the last line says that nothing runs."""
    process, _ = cli.start_server("--grace", "60")
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert process.stderr.read() == "stopped: nothing runs here any more\n"


def test_clients_are_told_before_the_jobs_have_ended(cli: Any) -> None:
    """At SIGTERM a WebSocket is closed with 1001 and a stream ends, before the grace of the job is over."""
    process, url = cli.start_server("--grace", "60")
    job_id = submit(url, "endless")

    async def client() -> tuple[int, bool]:
        async with websocket(url) as socket:
            await socket.send_message(json.dumps({"op": "follow", "id": 1, "job": job_id}))
            while "begun" not in str(await socket.get_message()):
                pass
            process.terminate()
            with pytest.raises(trio_websocket.ConnectionClosed) as closed:
                while True:
                    await socket.get_message()
        assert closed.value.reason is not None
        return closed.value.reason.code, process.poll() is None

    with httpx2.stream("GET", f"{url}/v1/jobs/{job_id}/stream") as response:
        events = lines(response)
        assert ("token", '"begun"') in events
        assert trio.run(client) == (1001, True)
        assert "completed" not in dict(events)


def test_jobs_are_told_and_may_end(cli: Any) -> None:
    """A handler that gets the request ends by itself within the grace; a silent client causes no delay."""
    process, url = cli.start_server("--grace", "60")
    job_id = submit(url, "polite")
    with (
        closing(socket.create_connection(("127.0.0.1", httpx2.URL(url).port or 0))),  # and says nothing
        httpx2.stream("GET", f"{url}/v1/jobs/{job_id}/stream") as response,
    ):
        assert ("token", '"begun"') in lines(response)
        began = time.monotonic()
        process.terminate()
        assert process.wait(60) == 143
        assert time.monotonic() - began < 30
    assert json.loads(cli("show", job_id, "--json")[1])["state"] == "completed"


@pytest.mark.deep
def test_what_still_runs_is_handed_over(cli: Any) -> None:
    """After the grace a job continues at the next server, and its stream is resumed there by the cursor."""
    process, url = cli.start_server("--grace", "0.1")
    job_id = submit(url, "endless")
    with httpx2.stream("GET", f"{url}/v1/jobs/{job_id}/stream") as response:
        for event in httpx2.EventSource(response):
            if event.event == "token":
                break
        process.terminate()
    assert process.wait(60) == 143
    _, again = cli.start_server()
    resume = {"last-event-id": event.id}
    with httpx2.stream("GET", f"{again}/v1/jobs/{job_id}/stream", headers=resume) as response:
        seen = []
        for kind, _ in lines(response):
            seen.append(kind)
            if kind == "token":
                break
    assert seen == ["retried", "started", "token"]


@pytest.mark.deep
def test_what_does_not_stop_is_left_by_force(cli: Any) -> None:
    """The process ends within grace + 2 s, whatever its clients and its handlers do."""
    process, url = cli.start_server("--grace", "0.1")
    job_id = submit(url, "stubborn")
    with (
        closing(socket.create_connection(("127.0.0.1", httpx2.URL(url).port or 0))) as deaf,
        httpx2.stream("GET", f"{url}/v1/jobs/{job_id}/stream") as response,
    ):
        deaf.sendall(f"GET /v1/jobs/{job_id}/stream HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        assert ("token", '"begun"') in lines(response)
        began = time.monotonic()
        process.terminate()
        assert process.wait(60) == 143
        assert time.monotonic() - began < 0.1 + 2
    assert f"job {job_id} (stubborn) did not stop within 0.1s" in process.stderr.read()


@pytest.mark.deep
def test_a_handler_answers_chats_of_the_ai_sdk(cli: Any) -> None:
    """With `--ai-sdk` a POST at /api/chat is a job of that handler; without, there is no such path."""
    body = {"id": "c1", "messages": [{"id": "m1", "role": "user", "parts": []}], "one": 1, "two": 2}
    _, url = cli.start_server("--ai-sdk", "add")
    answer = httpx2.post(f"{url}/api/chat", json=body)
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.text.endswith('data: {"finishReason":"stop","type":"finish"}\n\ndata: [DONE]\n\n')
    _, url = cli.start_server()
    assert httpx2.post(f"{url}/api/chat", json=body).status_code == 404


# ------------------------------------------------------------ it does not start


@pytest.mark.deep
def test_a_handler_for_chats_that_is_not_there_is_told(cli: Any) -> None:
    """`--ai-sdk` with a name that no handler has ends the command, with the option and the name."""
    process = cli.start("serve", "program", "--port", "0", "--ai-sdk", "adds")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("trio-jobs: --ai-sdk: ")
    assert "adds" in err


@pytest.mark.deep
def test_a_port_that_is_taken_is_told_and_no_job_is_touched(cli: Any) -> None:
    """A second server on a port fails with an error, and has claimed no job."""
    job_id = cli.submit("endless")
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        process = cli.start("serve", "program", "--port", port)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert (
        err
        == f"trio-jobs: 127.0.0.1:{port} is taken by another program; choose another --port, or 0 for any\n"
    )
    job = json.loads(cli("show", job_id, "--json")[1])
    assert (job["state"], job["attempt"]) == ("queued", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines"),  # noqa: S104  # it is refused
        (["--host", "::"], "say who may with --token-file"),
        (["--host", "192.0.2.1", "--token-file", "tokens"], "is no address of this machine"),
        (["--host", "no-such-name.invalid", "--token-file", "tokens"], "is no address of this machine"),
        (["--port", "70000"], "--port"),
        (["--port", "-1"], "--port"),
        (["--keyfile", "key.pem"], "--keyfile needs the certificate"),
        (["--certfile", "missing.pem"], "missing.pem: No such file"),
        (["--certfile", "program.py"], "--certfile program.py: no certificate in PEM"),
        (["--token-file", "missing"], "--token-file missing: No such file"),
        (["--capacity", "-1"], "capacity"),
        (["--store", "sqlite:///"], "--store"),
    ],
)
def test_what_cannot_be_is_told_on_one_line(cli: Any, arguments: list[str], said: str) -> None:
    """Each wrong option is named in an error before the server listens."""
    file = cli.folder / "tokens"
    file.write_text(f"* {ROOT}\n", encoding="utf-8")
    file.chmod(0o600)
    status, out, err = cli("serve", "program", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1) or "missing.pem" in arguments
    assert said in err


def test_without_the_extra_it_says_which(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If packages for serving are missing, one line names their extra."""
    for name in [name for name in sys.modules if name.startswith(("trio_jobs.serving", "starlette", "h11"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    status, _, err = cli("serve", "program")
    assert (status, err.count("\n")) == (1, 1)
    assert "pip install 'trio-jobs[serve]'" in err


def test_a_folder_is_no_program(cli: Any, tmp_path: Path) -> None:
    """Without handlers the server does not start, and makes no file."""
    status, out, err = cli("serve", "missing")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "jobs.db").exists()
