"""What a baseline is: the product with one part replaced, and where that part comes from.

A *learner* turns the samples of a round into a candidate. An *online* learner changes the device's
own adapter from its answers. A *packer* says what of a candidate reaches the devices, and for how
many bytes. A *filter* stands before the sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from driftline_cloud.distill import trainer
from driftline_cloud.distill.examples import Example
from driftline_cloud.distill.student import Models
from driftline_cloud.jobs import Distilled, DistillJob
from driftline_lab.baselines.shipping import Candidate, Shipped, pack_dwc
from driftline_shared.callbacks import Progress
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.tokens import SamplingPolicy

Learner = Callable[[DistillJob, Models, Progress], Distilled]
"""As `trainer.distil`: same job, same adapter."""

PolicyChange = Callable[[SamplingPolicy], SamplingPolicy]
Packer = Callable[[Candidate], Shipped]


class Online(Protocol):
    """A learner on the device, at work on the model that answers."""

    @property
    def num_steps(self) -> int:
        """Optimizer steps so far."""

    def learn(self, answered: Sequence[Example]) -> None:
        """Learn from questions just answered: all tokens, and the ids the device answered itself.

        Leaves in the model the adapter that the next questions are answered with.
        """


StartOnline = Callable[[MultimodalModel, int], Online]
"""(the device's model under version 0, seed) -> its learner."""


class SampleFilter(Protocol):
    """Sees every answer in turn."""

    def admits(self, entropy: float) -> bool:
        """Whether an answer of that mean normalised `entropy` (0..1) may be sampled at all."""


class Kind(StrEnum):
    """Which part of the loop a baseline replaces."""

    REFERENCE = "reference"
    ON_DEVICE = "learns-on-device"
    IN_CLOUD = "learns-in-cloud"
    UPLINK = "uplink"
    DOWNLINK = "downlink"


def same_policy(policy: SamplingPolicy) -> SamplingPolicy:
    """The product's own."""
    return policy


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The product, but for what is given here.

    `source`: who published it. `rule`: its formula or rule in one line. `sends`: whether samples
    leave the device. `distil`: settings of the product's learner. `gated`: whether a candidate must
    pass the cloud's gate: published learners know no gate and release every round.
    """

    name: str
    kind: Kind
    source: str
    rule: str
    sends: bool = True
    gated: bool = True
    policy: PolicyChange = same_policy
    distil: Mapping[str, object] = field(default_factory=dict)
    learn: Learner = trainer.distil
    pack: Packer = pack_dwc
    online: StartOnline | None = None
    new_filter: Callable[[], SampleFilter] | None = None
