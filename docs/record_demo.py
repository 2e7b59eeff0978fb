"""Make docs/demo.svg, a picture of a real run of the demo: `python docs/record_demo.py [FILE ...]`."""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio
from rich.console import Console
from rich.text import Text

from trio_jobs.demo.files import sources
from trio_jobs.demo.live import LiveView, frame
from trio_jobs.demo.play import play
from trio_jobs.demo.rows import Row
from trio_jobs.demo.screen import summary

PICTURE = Path(__file__).with_name("demo.svg")
SECONDS = 10.0
MOMENT = 0.4 * SECONDS  # one job waits to be retried, one has timed out, the others run
COLUMNS = 96


class Camera:
    """A screen that keeps what the live view shows at one moment."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def run(self, rows: Sequence[Row]) -> None:
        """Take the picture."""
        await trio.sleep(MOMENT)
        self._console.print(frame(rows, self._console, MOMENT))
        self._console.print()

    event = LiveView.event
    say = LiveView.say
    summary = LiveView.summary


async def record(console: Console, names: Sequence[str]) -> None:
    """Run the demo on these files."""
    began = trio.current_time()
    with tempfile.TemporaryDirectory() as folder:
        screen = Camera(console)
        rows = await play(sources(names), SECONDS, screen, Path(folder) / "demo.db", page=True)
    screen.summary(summary(rows, trio.current_time() - began))


def main() -> None:
    """Run the demo, and write the picture."""
    console = Console(
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        width=COLUMNS,
        height=40,
    )
    console.print(Text("$ trio-jobs demo", "bold"))
    console.print()
    trio.run(record, console, sys.argv[1:])
    picture = console.export_svg(title="trio-jobs demo", unique_id="demo")
    # Its fonts would come from the network; without them it is shown in the viewer's own.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    PICTURE.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
