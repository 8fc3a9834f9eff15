"""How large the runs of the tables are: as published, or small enough to try a change."""

from __future__ import annotations

from dataclasses import dataclass

from driftline_cloud.distill.gate import GateLimits
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.release.choose import ChooseSettings
from driftline_lab.data.worlds import world_named
from driftline_lab.experiments.plan import Plan

SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """`plan`: what every run begins with. `long_segments`: of the stream of six."""

    quick: bool
    seeds: tuple[int, ...]
    plan: Plan
    long_segments: tuple[str, ...]
    drops: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    scorers: tuple[str, ...] = ("mc_dropout", "random", "magnitude")
    sample_shares: tuple[float, ...] = (0.05, 0.1, 0.2)


LONG = ("source", "night", "sketch", "fog", "inverted", "texture")
"""Of easy-vqa; the segments of another world are its own stream's."""


def full_scale(pair: str = "tiny", seeds: tuple[int, ...] = SEEDS) -> Scale:
    """As the committed tables are made."""
    return Scale(quick=False, seeds=seeds, plan=Plan(pair=pair), long_segments=_long(pair))


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
        segments=world_named(None, pair=pair).segments[:2],
        questions=60,
        tests=24,
        round_samples=12,
        distil=distil,
        # Four steps earn nothing that a gate would see: every path is walked all the same.
        gate=GateLimits(delta_up=-1.0, delta_rehearsal=1.0),
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
    world = world_named(None, pair=pair)
    return LONG if set(LONG) <= set(world.domains) else world.domains[:6]
