"""What a run gives: rows over the stream, as values and as JSON with one text for equal runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from driftline_lab.data.openmoji.captions import CaptionScores
from driftline_lab.recovered import share_recovered
from driftline_shared.errors import DataError

START, ROUND, SEGMENT = "start", "round", "segment"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The device at one moment: at the start, after a round, or at the end of a segment.

    `seen`, `sent`, `bytes_up`, `bytes_down` and `steps` count from the start of the stream.
    `accuracy`: on each domain's test set. `answered`: share of right answers in the stream since
    the segment began. `state`, `reason`, `samples`: of the round. `digest`: of the adapter in
    force, hex. `captions`: by domain, at the start and at the end, where test sets ask for some.
    """

    kind: str
    segment: int
    domain: str
    round: int
    seen: int
    sent: int
    bytes_up: int
    bytes_down: int
    steps: int
    accuracy: dict[str, float]
    answered: float | None = None
    state: str = ""
    reason: str = ""
    samples: int = 0
    digest: str = ""
    captions: dict[str, CaptionScores] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A run of one baseline. `teacher`: accuracy on each domain, all tokens; `teacher_captions`:
    as a row's.

    `seconds`: of the run's parts, by the machine's clock; the only thing that differs between two
    equal runs.
    """

    baseline: str
    seed: int
    teacher: dict[str, float]
    rows: tuple[Row, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    teacher_captions: dict[str, CaptionScores] = field(default_factory=dict)

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def last(self) -> Row:
        return self.rows[-1]

    @property
    def segment_ends(self) -> list[Row]:
        return [row for row in self.rows if row.kind == SEGMENT]

    @property
    def rounds(self) -> list[Row]:
        return [row for row in self.rows if row.kind == ROUND]

    def recovered(self, domain: str) -> float | None:
        """See `share_recovered`, from the first row to the last."""
        return share_recovered(
            before=self.first.accuracy[domain],
            after=self.last.accuracy[domain],
            teacher=self.teacher[domain],
        )


_RESULT = TypeAdapter(Result)


def to_json(result: Result) -> bytes:
    """Sorted keys, floats as Python writes them."""
    return dumped(asdict(result))


def from_json(data: bytes, place: str) -> Result:
    """What `to_json` wrote. Raises DataError, naming `place`, for anything else."""
    try:
        return _RESULT.validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"{place} holds no result of a run: {first['loc']}: {first['msg']}"
        ) from error


def dumped(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON of plain values."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
