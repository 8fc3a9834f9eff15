"""From a candidate to a version (DWC, algorithms.md section 3): the line's side of the registry.

    <round>/packed.safetensors    the chosen update with C_{v+1} and E_{v+1}, see arrays.py
            p_ik.head             the P(IK) head that goes with it, where one was fitted

What is judged is always the decoded update C_{v+1}, never the candidate T: the smallest packing
is chosen that passes the gate itself and keeps all but epsilon of what T gained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog

from driftline_cloud.blobs.store import BlobStore
from driftline_cloud.distill.gate.rule import GateVerdict
from driftline_cloud.intake.line import Line
from driftline_cloud.jobs import Distilled
from driftline_cloud.release.arrays import load_packed, save_packed
from driftline_cloud.release.choose import Choice, ChooseSettings, choose
from driftline_cloud.release.manifests import Lineage, manifest_of, update_bytes
from driftline_cloud.release.packer import Packed
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rounds.round import Round
from driftline_cloud.rounds.scored_gate import ScoredGate
from driftline_shared.bounds import MAX_HEAD_BYTES
from driftline_shared.callbacks import Progress
from driftline_shared.errors import DriftlineError
from driftline_shared.p_ik.head import HEAD_FILE
from driftline_shared.update import Adapter, Manifest

_log = structlog.get_logger(__name__)

_PACKED = "packed.safetensors"
_SHOWN = ("agreement", "source_accuracy")
"""What of the gate's numbers travels in a manifest: each costs bytes on every download."""


class Releases:
    """The next update of one line, and making it public in `registry`, which holds the versions."""

    def __init__(
        self,
        registry: ReleaseRegistry,
        line: Line,
        initial: Adapter,
        *,
        settings: ChooseSettings,
        expires_after_s: int = 0,
    ) -> None:
        self.registry = registry
        self._settings = settings
        self._expires_after_s = expires_after_s
        self._line = line
        registry.open_line(line, initial)

    @property
    def keep_gain(self) -> float:
        """Share of a candidate's gain that its update must keep."""
        return 1.0 - self._settings.epsilon

    def compress(
        self,
        round_: Round,
        distilled: Distilled,
        gate: ScoredGate,
        place: BlobStore,
        progress: Progress,
    ) -> GateVerdict:
        """Choose the update and keep it in `place`; not accepted if every packing spoils it."""
        base = self.registry.canonical(self._line.id, round_.base_version)
        choice = choose(
            base,
            distilled.adapter,
            self.registry.residual(self._line.id),
            distilled.importance,
            judge=gate.judge_of_packings(distilled.adapter, base),
            cost=lambda packed: self._cost(packed, round_),
            settings=self._settings,
            progress=progress,
        )
        if choice.num_bytes > choice.budget_bytes:
            reason = f"the smallest update has {choice.num_bytes} bytes, dwc.max_fp16_share holds "
            reason += f"{choice.budget_bytes}"
            return GateVerdict(accepted=False, reason=reason, numbers=_numbers(choice))
        verdict = gate.judge(choice.packed.adapter, base)
        numbers = {**verdict.numbers, **_numbers(choice)}
        if not verdict.accepted:
            reason = f"no packing within {choice.budget_bytes} bytes passes: {verdict.reason}"
            return replace(verdict, reason=reason, numbers=numbers)
        if not choice.good_enough:
            # It passes the gate; what it lacks stays in the residual and goes with the next one.
            _log.warning("update.cut_by_budget", round=round_.id, kept_gain=choice.kept_gain)
        save_packed(place, _PACKED, choice.packed)
        return GateVerdict(accepted=True, reason=choice.packed.label, numbers=numbers)

    def publish(self, round_: Round, place: BlobStore) -> Manifest:
        """Make the update in `place` the next version; again and again gives the one it made."""
        done = self.published(round_)
        if done is not None:
            return done
        head = place.get(HEAD_FILE, MAX_HEAD_BYTES)
        lineage = replace(self._lineage(round_, round_.numbers), ik_head=head or b"")
        return self.registry.publish(self._line.id, self.packed(place), lineage)

    def packed(self, place: BlobStore) -> Packed:
        """The update that `compress` chose. Raises DriftlineError where it is gone."""
        packed = load_packed(place, _PACKED)
        if packed is None:
            raise DriftlineError(f"the update of the round is gone from {place.place}")
        return packed

    def keep_head(self, place: BlobStore, head: bytes) -> None:
        """Keep the P(IK) head that goes with the update in `place`; empty: none goes."""
        if head:
            place.put(HEAD_FILE, head)
        else:
            place.delete(HEAD_FILE)

    def published(self, round_: Round) -> Manifest | None:
        """The manifest that `round_` released, if it got that far."""
        return self.registry.find_round(self._line.id, round_.id)

    def _lineage(self, round_: Round, numbers: Mapping[str, float]) -> Lineage:
        created_s = round_.created_unix_s
        return Lineage(
            round_id=round_.id,
            num_samples=round_.num_samples,
            created_unix_s=created_s,
            expires_unix_s=created_s + self._expires_after_s if self._expires_after_s else 0,
            gate={name: numbers.get(f"update.candidate_{name}", 0.0) for name in _SHOWN},
        )

    def _cost(self, packed: Packed, round_: Round) -> int:
        # Any non-zero numbers: protobuf leaves out zeros, and the cost must not come out too small.
        lineage = self._lineage(round_, {f"update.candidate_{name}": 1.0 for name in _SHOWN})
        return update_bytes(
            manifest_of(
                packed,
                self._line,
                lineage,
                base_version=round_.base_version,
                target_version=round_.target_version,
            )
        )


def _numbers(choice: Choice) -> dict[str, float]:
    return {
        "update_bytes": float(choice.num_bytes),
        "budget_bytes": float(choice.budget_bytes),
        "kept_gain": choice.kept_gain,
        "num_judged": float(choice.num_judged),
    }
