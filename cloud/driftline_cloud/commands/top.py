"""One frame of `driftline cloud top`: a status as a screen of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from driftline_shared.plain_text import visible
from driftline_shared.status import (
    CLOSED_ROUNDS,
    DROPPED_LINE,
    PAUSED_LINE,
    CloudStatus,
    DeviceStatus,
    LineStatus,
)

UNSEEN_S = 86_400
MOST_DEVICES = 12
"""Devices that a frame names, the stuck ones first."""

BEHIND, UNSEEN, WELL = "behind", "unseen for a day", "well"


def device_state(device: DeviceStatus, newest: int, now_s: float) -> str:
    """One word on a device: how its last update ended where not well, unseen, behind or well."""
    outcome = device.last_report.partition(" ")[0]
    if outcome not in ("", "applied"):
        return outcome.replace("_", " ")
    if now_s - device.last_seen_unix_s >= UNSEEN_S:
        return UNSEEN
    return BEHIND if device.adapter_version < newest else WELL


def frame(found: CloudStatus, *, now_s: float, address: str) -> RenderableType:
    """Lines, who works, which devices are stuck."""
    parts: list[RenderableType] = [
        Text.from_markup(
            f"[bold]driftline {_shown(found.version)}[/]  cloud {_shown(found.cloud_id[:12])} at "
            f"{_shown(address)}"
        ),
        _lines(found.lines),
    ]
    parts += [worker for line in found.lines for worker in _workers(line, now_s)]
    for line in found.lines:
        parts += _devices(line, now_s)
    if not found.lines:
        parts.append(Text("no line yet"))
    return Group(*parts)


def _lines(lines: Sequence[LineStatus]) -> Table:
    table = Table(
        "line", "version", "round", "state", "done", box=None, pad_edge=False, header_style="dim"
    )
    for name in ("waiting", "samples", "apart", "devices"):
        table.add_column(name, justify="right")
    for line in lines:
        now = line.round
        is_open = now is not None and now.state not in CLOSED_ROUNDS
        done: RenderableType = ""
        if now is not None and is_open:
            done = ProgressBar(total=1.0, completed=min(1.0, now.progress), width=16)
        table.add_row(
            _shown(line.line),
            str(line.newest_version),
            f"{line.num_rounds}",
            _state(line),
            done,
            f"{line.num_waiting:,}",
            f"{line.num_samples:,}",
            f"{line.num_quarantined:,}",
            f"{max(line.num_devices, len(line.devices)):,}",
        )
    return table


def _state(line: LineStatus) -> str:
    """Of the newest round, or why there is no other."""
    now = "-" if line.round is None else _shown(line.round.state)
    if line.state == DROPPED_LINE:
        return "[dim]dropped[/]"
    return f"{now} (paused)" if line.state == PAUSED_LINE else now


def _workers(line: LineStatus, now_s: float) -> list[RenderableType]:
    if line.state == DROPPED_LINE:
        return []
    if not line.workers:
        return [Text.from_markup(f"[red]{_shown(line.line)}: no worker, samples wait[/]")]
    rows: list[RenderableType] = []
    for worker in line.workers:
        style = "red" if worker.state in ("blocked", "gone") else "green"
        why = f": {_shown(worker.reason)}" if worker.reason else ""
        since = max(0, int(now_s) - worker.last_seen_unix_s)
        rows.append(
            Text.from_markup(
                f"worker {_shown(worker.owner)} [{style}]{_shown(worker.state)}[/]{why} "
                f"[dim]({since} s ago)[/]"
            )
        )
    return rows


def _devices(line: LineStatus, now_s: float) -> list[RenderableType]:
    states = [(device_state(one, line.newest_version, now_s), one) for one in line.devices]
    if not states:
        return []
    counted = Counter(state for state, _ in states)
    total = max(line.num_devices, len(states))
    among = f" (of the first {len(states):,})" if len(states) < total else ""
    said = ", ".join(f"{num:,} {_shown(state)}" for state, num in sorted(counted.items()))
    rows: list[RenderableType] = [
        Text.from_markup(f"devices of {_shown(line.line)}: {said}{among}")
    ]
    stuck = [(state, one) for state, one in states if state != WELL][:MOST_DEVICES]
    if stuck:
        table = Table(
            "device", "is", "version", "seen", "last report", box=None, header_style="dim"
        )
        for state, one in stuck:
            table.add_row(
                _shown(one.device_id),
                _shown(state),
                str(one.adapter_version),
                f"{max(0, int(now_s) - one.last_seen_unix_s):,} s ago",
                _shown(one.last_report) or "-",
            )
        rows.append(table)
    return rows


def _shown(text: str) -> str:
    return escape(visible(text))
