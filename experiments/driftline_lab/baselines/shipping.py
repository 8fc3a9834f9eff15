"""From a candidate to what devices hold: what a packer is given and gives, and the product's own.

DWC (docs/algorithms.md, section 3): the smallest packing whose decoded result keeps what the
candidate gained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from driftline_cloud.jobs import Distilled
from driftline_cloud.release.choose import ChooseSettings, choose
from driftline_cloud.release.packer import Packed
from driftline_cloud.rounds.scored_gate import ScoredGate
from driftline_shared.update import Adapter


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A round's candidate on its way out.

    `base`: C_v, which the devices hold. `residual`: E_v. `gate`: judges decoded updates. `cost`:
    bytes of a packed update on the wire, manifest included.
    """

    base: Adapter
    distilled: Distilled
    residual: Adapter
    gate: ScoredGate
    cost: Callable[[Packed], int]
    settings: ChooseSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipped:
    """`adapter`: C_{v+1}, bit for bit what devices hold. `residual`: E_{v+1}. `num_bytes`: of the
    update, one device. `label`: of the form chosen.
    """

    adapter: Adapter
    residual: Adapter
    num_bytes: int
    label: str


def pack_dwc(candidate: Candidate) -> Shipped:
    """The product's own search, judged by the round's gate."""
    target, base = candidate.distilled.adapter, candidate.base
    choice = choose(
        base,
        target,
        candidate.residual,
        candidate.distilled.importance,
        judge=candidate.gate.judge_of_packings(target, base),
        cost=candidate.cost,
        settings=candidate.settings,
    )
    return Shipped(
        adapter=choice.packed.adapter,
        residual=choice.packed.residual,
        num_bytes=choice.num_bytes,
        label=choice.packed.label,
    )
