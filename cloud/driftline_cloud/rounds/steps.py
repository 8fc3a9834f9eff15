"""What a round needs from others: a gate to judge a candidate, a releaser to make it a version.

The coordinator knows these two and `Workers`, and nothing of models, packings or Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from driftline_cloud.distill.gate import Verdict
from driftline_cloud.workers.workers import Distilled, Label, Progress
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter, Manifest

from .round import Round


@dataclass(frozen=True, kw_only=True, slots=True)
class GateInput:
    """What a gate judges on, beside the pair's source calibration set.

    `holdout`: samples of this round that training never sees. `recall`: held-out samples of older
    rounds. Labels in the same order.
    """

    pair_dir: Path
    seed: int
    holdout: Sequence[Sample]
    holdout_labels: Sequence[Label]
    recall: Sequence[Sample] = ()
    recall_labels: Sequence[Label] = ()


class Gate(Protocol):
    """Judges adapters of one round."""

    def judge(self, candidate: Adapter, base: Adapter) -> Verdict:
        """Whether `candidate` is enough better than `base`, and forgets little enough."""

    def nearly(self, packed: Adapter, candidate: Adapter, base: Adapter) -> Verdict:
        """Whether `packed`, a decoded update, passes too and keeps what `candidate` gained."""


MakeGate = Callable[[GateInput], Gate]
"""Builds the gate of a round; loads models, so it is called once per round and process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """A version that devices may fetch."""

    version: int
    manifest: Manifest
    numbers: Mapping[str, float] = field(default_factory=dict)


class Releaser(Protocol):
    """Versions of one line: what devices hold, the next update, and making it public."""

    def newest_version(self) -> int:
        """The newest version of the line; 0 is the adapter every device starts with."""

    def canonical(self, version: int) -> Adapter:
        """C_v: what devices at `version` hold, bit for bit."""

    def compress(
        self, round_: Round, distilled: Distilled, gate: Gate, folder: Path, progress: Progress
    ) -> Verdict:
        """Find the smallest update that still passes and keep it in `folder`; may run again."""

    def publish(self, round_: Round, folder: Path) -> Released:
        """Make the update in `folder` the version `round_.target_version`.

        Doing it again changes nothing: a round that was killed while it published ends with the
        one version it had begun to make.
        """

    def published(self, round_: Round) -> Released | None:
        """The version that `round_` made, if it got that far."""
