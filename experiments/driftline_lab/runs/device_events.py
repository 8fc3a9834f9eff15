"""A device's events file (`events` of its settings) as a timeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from driftline_lab.runs.folder import MAX_LINE_BYTES
from driftline_lab.runs.run import TimelineRow
from driftline_shared.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A row of the timeline, and the id of the sample that it became, if any."""

    row: TimelineRow
    sample_id: bytes | None


def read_events(path: Path) -> Iterator[Answered]:
    """The answers in turn; DataError naming the line that is wrong."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            try:
                event = json.loads(line)
                if event.get("kind") != "correction":
                    yield _answered(event)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{path}, line {number}: no event of a device: {error}") from error


def _answered(event: dict[str, object]) -> Answered:
    names = TimelineRow.__dataclass_fields__
    row = TimelineRow(**{key: value for key, value in event.items() if key in names})  # type: ignore[arg-type]
    sample = event["sample"]
    return Answered(row=row, sample_id=None if sample is None else bytes.fromhex(str(sample)))
