"""What a run leaves behind, as values: what it was, its metrics, its times, its answers, pictures.

Everything in `Metrics` and `TimelineRow` is the same each time with one seed in lockstep; what a
clock decides is in `Timings`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

SCHEMA = 1
"""Version of the run folder; a reader refuses a higher one."""

RunKind = Literal["demo", "replay", "experiment"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Number = Annotated[float, Field(ge=-1e300, le=1e300)]
"""Room to draw it: means and percentages of such numbers are still finite."""

_SMALLEST_GAP = 1e-9
"""Test sets have far fewer than a billion questions: less is rounding."""

_CHECKS = ConfigDict(strict=True, allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """What was run: `run.json`.

    `base_model`, `token_space`, `trace`: hex digests ("" where there is none). `world`: name of the
    data, or a user's own folder. `settings`: by program ("cloud", "device"), those that were given.
    `policy`: the sampling policy. `link`: name of the link profile, "" for none. `versions`: of
    driftline, Python and the packages that numbers depend on.
    """

    __pydantic_config__ = _CHECKS

    kind: RunKind
    pair: str
    seed: int
    schema: int = SCHEMA
    base_model: str = ""
    token_space: str = ""
    world: str = ""
    trace: str = ""
    link: str = ""
    settings: dict[str, JsonValue] = field(default_factory=dict)
    policy: dict[str, JsonValue] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def as_recorded(self) -> bool:
        """Whether it is a replay of recorded answers, which no update can change."""
        return self.kind == "replay" and self.settings.get("answers") == "recorded"


AS_RECORDED = "Answers are as recorded: no update can change them (--answers recompute does)."


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainAccuracy:
    """Shares of right answers on the test set of one domain, 0..1.

    `recovered`: (after - before) / (teacher - before); None without a teacher or without a gap.
    `num_questions`: size of the test set, 0 where unknown.
    """

    before: Share
    after: Share
    teacher: Share | None = None
    num_questions: Count = 0
    recovered: float | None = field(init=False)

    def __post_init__(self) -> None:
        gap = 0.0 if self.teacher is None else self.teacher - self.before
        share = (self.after - self.before) / gap if gap > _SMALLEST_GAP else None
        object.__setattr__(self, "recovered", share)


@dataclass(frozen=True, kw_only=True, slots=True)
class UplinkTotals:
    """Answers that could have been sampled, samples sent, their bytes on the wire in all."""

    seen: Count = 0
    sent: Count = 0
    bytes: Count = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRound:
    """A round of the cloud. `at`: answers the device had given when it was cut, where known.

    `trigger`: count, drift, age or operator; `reason`: why it ended as it did; `numbers`: what its
    gate and its packing measured, by name.
    """

    number: Count
    state: str
    num_samples: Count
    trigger: str = ""
    reason: str = ""
    at: Count | None = None
    numbers: dict[str, Number] = field(default_factory=dict)

    @property
    def started(self) -> str:
        """What started it, for people: `by order`, `by count`; "" where unknown."""
        return {"": "", "operator": "by order"}.get(self.trigger, f"by {self.trigger}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunUpdate:
    """An update that was released. `digest`: sha256 of the target adapter, hex.

    `bytes`: of its manifest and its blob; what messages add to them (some bytes each) is only in a
    device's own counters. `at`: answers given before it was in force, where known. `refused`: why
    a device did not keep it.
    """

    version: Count
    digest: str
    bytes: Count
    at: Count | None = None
    refused: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """What was measured: `metrics.json`. `accuracy`: by domain. `numbers`: all else, by name."""

    __pydantic_config__ = _CHECKS

    accuracy: dict[str, DomainAccuracy] = field(default_factory=dict)
    uplink: UplinkTotals = field(default_factory=UplinkTotals)
    rounds: tuple[RunRound, ...] = ()
    updates: tuple[RunUpdate, ...] = ()
    numbers: dict[str, Number] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """What may differ between equal runs: `timings.json`.

    `seconds`: by name ("loop", "round.1"). `apply_pause_ms`: of each update.
    """

    __pydantic_config__ = _CHECKS

    started_unix_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    apply_pause_ms: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TimelineRow:
    """One answer, a line of `timeline.jsonl`. `n`: counts from 1.

    `correct`: None where the true answer is unknown. `version`: the adapter that answered. `sent`:
    whether it became a sample, of `bytes` bytes on the wire (0 else). `text`: the answer, where it
    was kept.
    """

    __pydantic_config__ = _CHECKS

    n: Count
    segment: str = ""
    domain: str = ""
    correct: bool | None = None
    uncertainty: Number | None = None
    version: Count = 0
    sent: bool = False
    bytes: Count = 0
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture of the report: a file in `pictures/` and what was asked of it.

    `kept`: positions of the tokens that were sent, of a grid of `rows` x `cols`, row by row.
    `n`: the answer's number in the timeline, 0 where unknown. `teacher`: what the teacher said.
    """

    __pydantic_config__ = _CHECKS

    file: str
    question: str
    answer: str
    rows: int
    cols: int
    kept: tuple[int, ...]
    n: Count = 0
    domain: str = ""
    teacher: str = ""
    correct: bool | None = None
    uncertainty: float | None = None
    version: Count = 0
    bytes: Count = 0
