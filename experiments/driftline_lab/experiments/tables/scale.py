"""How large the runs of the tables are: as published, or small enough to try a change."""

from __future__ import annotations

from dataclasses import dataclass, replace

from driftline_cloud.distill.gate.rule import GateLimits
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.release.choose import ChooseSettings
from driftline_lab.baselines.reference import REFERENCE
from driftline_lab.baselines.table import baseline_named
from driftline_lab.data.worlds import world_for
from driftline_lab.experiments.plan import Plan

SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """`plan`: what every run begins with. `long_segments`: of the stream of six. `baselines`: the
    only ones that the product is compared with; none: all.
    """

    quick: bool
    seeds: tuple[int, ...]
    plan: Plan
    long_segments: tuple[str, ...]
    drops: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    scorers: tuple[str, ...] = ("mc_dropout", "random", "magnitude")
    sample_shares: tuple[float, ...] = (0.05, 0.1, 0.2)
    baselines: tuple[str, ...] = ()

    def compares(self, name: str) -> bool:
        """Whether tables of baselines have that one; the product is in all of them."""
        return not self.baselines or name == REFERENCE.name or name in self.baselines


LONG = ("source", "night", "sketch", "fog", "inverted", "texture")
"""Of easy-vqa; the segments of another world are its own stream's."""


def full_scale(pair: str = "tiny", seeds: tuple[int, ...] = SEEDS) -> Scale:
    """As the committed tables are made."""
    plan = Plan(pair=pair)
    return Scale(quick=False, seeds=seeds, plan=plan, long_segments=_long(pair))


def quick_scale(pair: str = "tiny", seeds: tuple[int, ...] = (0,)) -> Scale:
    """Every path of the full tables, with numbers that say little: one seed, few steps."""
    distil = DistilSettings(
        threads=1,
        min_steps=4,
        max_steps=4,
        batch_size=8,
        memory_batch_size=8,
        num_source_rows=16,
        gate_source_rows=16,
        extra_questions=1,
    )
    plan = Plan(
        pair=pair,
        segments=world_for(None, pair=pair).segments[:2],
        questions=60,
        tests=24,
        round_samples=12,
        distil=distil,
        # Four steps earn nothing that a gate would see: every path is walked all the same.
        gate=GateLimits(sure_of_gain=0.0, sure_of_harm=1.0, sure_of_source_harm=1.0),
        dwc=ChooseSettings(quantizers=("linear4",)),
    )
    return Scale(
        quick=True,
        seeds=seeds,
        plan=plan,
        long_segments=_long(pair)[:3],
        drops=(0.0, 0.5, 0.9),
        scorers=("mc_dropout", "random"),
        sample_shares=(0.1,),
    )


def _long(pair: str) -> tuple[str, ...]:
    """The stream of six segments, or as many as the pair's world has."""
    world = world_for(None, pair=pair)
    return LONG if set(LONG) <= set(world.domains) else world.domains[:6]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What a user asks of a scale, in plain values: of equal choices two processes make one scale.

    `seeds`, `baselines`: none means the scale's own. `questions` of a segment and `tests`, held-out
    ones of a domain: None means the scale's own.
    """

    pair: str = "tiny"
    quick: bool = False
    seeds: tuple[int, ...] = ()
    baselines: tuple[str, ...] = ()
    questions: int | None = None
    tests: int | None = None

    def scale(self) -> Scale:
        """Raises ConfigError for an unknown baseline."""
        make = quick_scale if self.quick else full_scale
        scale = make(self.pair, self.seeds) if self.seeds else make(self.pair)
        sizes = {"questions": self.questions, "tests": self.tests}
        changes = {name: size for name, size in sizes.items() if size is not None}
        return replace(
            scale,
            baselines=tuple(baseline_named(name).name for name in self.baselines),
            plan=scale.plan.model_copy(update=changes),
        )
