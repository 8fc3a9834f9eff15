"""The demo's live screen: what device and cloud say of themselves, once a second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SPARKS = "▁▂▃▄▅▆▇█"
CURVE_POINTS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What one refresh shows: plain values, from the device's status file and the cloud's status
    call.
    """

    segment: str = "-"
    answered: int = 0
    total: int = 0
    accuracy: float | None = None
    uncertainty: float | None = None
    seen: int = 0
    sent: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    spooled: int = 0
    version: int = 0
    last_update: str = "-"
    round_state: str = "-"
    round_progress: float = 0.0
    num_rounds: int = 0
    curve: tuple[float, ...] = field(default=())


def render(view: View) -> RenderableType:
    """The screen for `view`."""
    columns = Table.grid(expand=True)
    columns.add_column(ratio=1)
    columns.add_column(ratio=1)
    columns.add_row(_panel("device", _device_rows(view)), _panel("cloud", _cloud_rows(view)))
    curve = Text(spark_line(view.curve), style="green")
    bar = ProgressBar(total=max(1, view.total), completed=view.answered)
    return Group(columns, Panel(curve, title="rolling accuracy, 0 to 100 %"), bar)


def line(view: View) -> str:
    """The same as one line, for a terminal that cannot redraw (a log, CI)."""
    accuracy = "-" if view.accuracy is None else f"{100 * view.accuracy:.0f} %"
    return (
        f"{view.segment:>10}  answered {view.answered}/{view.total}  accuracy {accuracy}  "
        f"sent {view.sent}  up {view.bytes_up:,} B with framing  round {view.round_state}  "
        f"version {view.version}  down {view.bytes_down:,} B with framing"
    )


class Lines:
    """Lines for a log: one where it says something new, and never two within `every_s`."""

    def __init__(
        self,
        write: Callable[[str], None],
        every_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._every_s = every_s
        self._now = now
        self._written = ""
        self._written_s = -math.inf

    def show(self, view: View) -> None:
        """Write the line of `view`, if it is time for one and it is not the one before."""
        text, now_s = line(view), self._now()
        if text != self._written and now_s - self._written_s >= self._every_s:
            self._written, self._written_s = text, now_s
            self._write(text)


def spark_line(values: tuple[float, ...]) -> str:
    """Values in 0..1 as one row of blocks, the newest `CURVE_POINTS` of them."""
    top = len(SPARKS) - 1
    return "".join(SPARKS[min(top, max(0, round(v * top)))] for v in values[-CURVE_POINTS:])


def _panel(title: str, rows: list[tuple[str, str]]) -> Panel:
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), value)
    return Panel(grid, title=title)


def _device_rows(view: View) -> list[tuple[str, str]]:
    return [
        ("segment", view.segment),
        ("answered", f"{view.answered} of {view.total}"),
        ("rolling accuracy", "-" if view.accuracy is None else f"{100 * view.accuracy:.1f} %"),
        ("mean uncertainty", "-" if view.uncertainty is None else f"{view.uncertainty:.4f}"),
        ("samples sent", f"{view.sent} of {view.seen} seen, {view.spooled} in the spool"),
        ("adapter version", f"{view.version}   last update: {view.last_update}"),
    ]


def _cloud_rows(view: View) -> list[tuple[str, str]]:
    state = view.round_state
    if view.round_progress:
        state += f"  {100 * view.round_progress:.0f} %"
    return [
        ("round", state),
        ("rounds ended", str(view.num_rounds)),
        ("bytes up, with framing", f"{view.bytes_up:,}"),
        ("bytes down, with framing", f"{view.bytes_down:,}"),
    ]
