"""What one run is: pair, stream, rounds and every setting; equal plans give equal rows."""

from __future__ import annotations

from driftline_cloud.distill.gate.rule import GateLimits
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.release.choose import ChooseSettings
from driftline_lab.data.worlds import World, world_for
from driftline_shared.program.policy import Policy
from driftline_shared.program.section import Section, setting
from driftline_shared.tokens import SamplingPolicy


class Plan(Section):
    """A run's settings. One thread of torch, whose number is part of what sums come to."""

    pair: str = setting("tiny", "a shipped pair, or a pair folder")
    world: str = setting("", "data set; empty: the pair's own")
    segments: tuple[str, ...] = setting((), "domains in turn; none: the world's own stream")
    questions: int = setting(600, "questions of a segment", ge=1, le=1_000_000)
    tests: int = setting(300, "held-out questions of a domain", ge=1, le=1_000_000)
    seed: int = setting(0, "of stream, sampling and rounds", ge=0)
    answer_batch: int = setting(
        30, "questions answered at once; a round starts between two of these", ge=1, le=4096
    )
    round_samples: int = setting(150, "samples of a round", ge=2, le=1_000_000)
    holdout_share: float = setting(0.15, "of a round's samples: judged by", gt=0, lt=1)
    rehearsal_samples: int = setting(256, "older samples mixed into training", ge=0)
    recall_samples: int = setting(64, "older held-out samples the gate looks at", ge=0)
    gate_questions: int = setting(5, "further questions the gate puts to each of them", ge=0)
    policy: Policy = SamplingPolicy()
    distil: DistilSettings = DistilSettings(threads=1)
    gate: GateLimits = GateLimits()
    dwc: ChooseSettings = ChooseSettings()

    @property
    def data(self) -> World:
        """The world of that name, or the pair's. Raises ConfigError for an unknown one."""
        return world_for(self.world or None, pair=self.pair)
