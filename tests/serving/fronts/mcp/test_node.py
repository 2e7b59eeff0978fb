"""The reader of tasks of MCP's TypeScript SDK, on Node.js."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.serving.fronts.mcp.test_front import WORDS, Endless, add, broken, deploy, write
from tests.serving.fronts.node import needs, run
from tests.serving.proxy import Weather, open_proxy
from tests.serving.served import served
from trio_jobs.serving import mcp_front


def text_of(settled: dict[str, Any]) -> str:
    """Return the text of a result."""
    [block] = settled["result"]["content"]
    return str(block["text"])


@pytest.mark.deep  # it starts a process
async def test_another_client_reads_tasks_to_their_end() -> None:
    """A result, two answers, a failure, a refusal, and a proven cancel are what they are for this one too;
    over a network that cuts, a call that is repeated is one task, and its text is whole."""
    needs("@modelcontextprotocol/ext-tasks")
    endless = Endless()
    async with (
        served([add, deploy, broken, write, endless.handler], fronts=[mcp_front], patience=120) as site,
        open_proxy(site.url, Weather(life=4000, piece=300)) as proxy,
    ):
        found = await run(Path(__file__).with_name("tasks.mjs"), site.url, proxy.url)
        assert endless.stopped.is_set()
    assert found["added"]["result"]["structuredContent"] == {"sum": 4}
    assert text_of(found["deployed"]) == "deployed"
    assert found["asked"] == ["1.2: sure? 1", "1.2: sure? 2"]
    assert "input_required" in found["deployed"]["states"]
    assert (found["broken"]["status"], found["broken"]["result"]["isError"]) == ("completed", True)
    assert found["refused"] == [-32602, "'add' takes 'a', which this request does not have"]
    assert found["cancelled"]["status"] == "cancelled"
    assert found["same"] is True
    assert text_of(found["written"]) == "".join(WORDS)
    assert found["failures"] > 0, "the network has cut nothing"
