"""What a replay is told: how long a cloud's work takes by the virtual clock, and what to choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from driftline_lab.replay.cache.store import MAX_BYTES
from driftline_lab.replay.links import PROFILES, LinkProfile
from driftline_shared.program.section import Section, setting
from driftline_shared.tokens import SamplingPolicy

Answers = Literal["recorded", "recompute"]
"""Whether the device's answers are those of the trace, or made anew under the version in force."""

MOST_S = 86_400.0
"""No work of a cloud takes longer than a day."""


class ComputeTimes(Section):
    """How long the cloud works, in virtual seconds; the wall clock has no say in a replay.

    The defaults are guesses in the order of the pair `tiny` on two cores; none was fitted to a
    measurement.
    """

    label_s: float = setting(0.005, "the teacher, for each sample of a round", ge=0, le=MOST_S)
    step_s: float = setting(0.25, "one optimizer step of a distillation", ge=0, le=MOST_S)
    gate_s: float = setting(2.0, "judging a candidate", ge=0, le=MOST_S)
    compress_s: float = setting(5.0, "finding the smallest update", ge=0, le=MOST_S)
    release_s: float = setting(0.1, "making a version public", ge=0, le=MOST_S)
    probe_s: float = setting(
        1.0, "a device, checking a new version before it swaps", ge=0, le=MOST_S
    )


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """One replay. `policy`: samples are chosen anew under it; None: those of the trace go up.

    `speed`: virtual seconds in a second of the wall clock at most; 0: as fast as it goes.
    `processes`: the cloud in a process of its own. `cache`: folder of results by digest, if any.
    `settle_s`: most virtual seconds after the last answer for what is under way to end.
    """

    pair: str
    seed: int = 0
    link: LinkProfile = PROFILES["ideal"]
    policy: SamplingPolicy | None = None
    answers: Answers = "recorded"
    speed: float = 0.0
    processes: bool = False
    cloud_settings: Mapping[str, object] = field(default_factory=dict)
    device_settings: Mapping[str, object] = field(default_factory=dict)
    times: ComputeTimes = field(default_factory=ComputeTimes)
    cache: Path | None = None
    cache_bytes: int = MAX_BYTES
    settle_s: float = 86_400.0
