"""The daemon's status: `<state>/status.json`, replaced about once a second."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from driftline_shared.errors import DataError
from driftline_shared.host.durable import read_json, write_json

FILE = "status.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The daemon at one moment. Shares lie in 0..1; None where nothing is known yet.

    `activity`: starting, answering, settling, holding, draining or stopped. `accuracy` and
    `uncertainty`: over the newest answers of the segment. `domains`: counts by domain since the
    start.
    `sampling`: what became of the answers considered. `images`: whether parts of them leave.
    `paused_unix_s`: since when an operator wants it to answer only.
    `update`: the newest update and its outcome.
    """

    pid: int
    unix_s: float
    activity: str
    device_id: str
    pair: str
    base_model: str
    version: int
    paused_unix_s: float | None = None
    segment: str = ""
    domain: str | None = None
    num_answered: int = 0
    num_errors: int = 0
    num_broken_rows: int = 0
    accuracy: float | None = None
    uncertainty: float | None = None
    domains: dict[str, dict[str, int]] = field(default_factory=dict)
    num_seen: int = 0
    num_sent: int = 0
    sampling: dict[str, int] = field(default_factory=dict)
    policy_revision: int = 0
    images: dict[str, Any] = field(default_factory=dict)
    update: dict[str, Any] = field(default_factory=dict)
    num_updates: int = 0
    failed_versions: list[int] = field(default_factory=list)
    apply_pause_ms: list[float] = field(default_factory=list)
    spool: dict[str, Any] = field(default_factory=dict)
    link: dict[str, Any] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0


def write_snapshot(state: Path, snapshot: Snapshot) -> None:
    """Replace the status file; a reader never sees half of one. Not synced: only looked at."""
    write_json(state / FILE, asdict(snapshot), durable=False)


def read_snapshot(state: Path) -> dict[str, Any]:
    """The newest snapshot as a JSON object; DataError if no daemon ever ran on `state`."""
    try:
        found = read_json(state / FILE)
    except (OSError, ValueError) as error:
        raise DataError(f"{state / FILE} cannot be read: {error}") from error
    if found is None:
        raise DataError(f"no daemon has run on {state}: start one with `driftline device run`")
    return found
