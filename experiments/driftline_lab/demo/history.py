"""What a demo that is over went through: the rounds of its cloud, the updates of its device."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from driftline_cloud.config import CloudConfig
from driftline_cloud.intake.database import Database
from driftline_cloud.state import StateFolder
from driftline_lab.runs.cloud_state import refusals_of, rounds_of, updates_of
from driftline_lab.runs.device_events import read_events
from driftline_lab.runs.run import RunRound, RunUpdate


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """`sample_bytes`: of all samples that were sent, as they were coded."""

    rounds: tuple[RunRound, ...]
    updates: tuple[RunUpdate, ...]
    sample_bytes: int


def history_of(cloud: CloudConfig, line: str, events: Path | None) -> History:
    """Of `line`. `events`: the device's file, if it wrote one."""
    answers = list(read_events(events)) if events is not None else []
    numbers = {answer.sample_id: answer.row.n for answer in answers if answer.sample_id}
    with closing(Database(cloud.database)) as database:
        rounds, refused = rounds_of(database, line, numbers), refusals_of(database, line)
    timeline = [answer.row for answer in answers]
    return History(
        rounds=rounds,
        updates=updates_of(StateFolder(cloud.state).releases, line, timeline, refused),
        sample_bytes=sum(row.bytes for row in timeline),
    )
