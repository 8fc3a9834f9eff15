"""A line of versions in memory, and one round on it: the cloud's own functions, without a database.

Split, rehearsal, gate, packing and the cost of a manifest are the product's; only the learner and
the packer are the baseline's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.intake.line import Line
from driftline_cloud.intake.rehearsal import choose_rehearsal, set_apart, split_holdout
from driftline_cloud.jobs import Distilled, DistillJob, Label, ScoreJob
from driftline_cloud.release.delta import no_residual
from driftline_cloud.release.manifests import Lineage, manifest_of, update_bytes
from driftline_cloud.release.packer import Packed
from driftline_cloud.rounds.scored_gate import ScoredGate, along
from driftline_cloud.workers.workers import Workers
from driftline_lab.baselines.baseline import Baseline
from driftline_lab.baselines.shipping import Candidate
from driftline_lab.experiments.plan import Plan
from driftline_shared.callbacks import ignore
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter

RELEASED, REJECTED = "released", "rejected"

_CREATED_S = 1_700_000_000
_ROUND_ID_CHARS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a round ended. `seconds`: of each part, by the machine's clock."""

    state: str
    reason: str
    num_bytes: int
    num_samples: int
    num_steps: int
    numbers: dict[str, float]
    seconds: dict[str, float]


@dataclass(kw_only=True)
class MemoryLine:
    """Versions of one line: `adapter` is C_v, `origin` C_0, `residual` E_v. `settings`: of the
    learner.
    """

    plan: Plan
    pair: Pair
    baseline: Baseline
    workers: Workers
    settings: DistilSettings
    origin: Adapter
    adapter: Adapter = field(init=False)
    version: int = 0
    num_rounds: int = 0
    residual: Adapter = field(default_factory=dict)
    _samples: dict[bytes, Sample] = field(default_factory=dict)
    _labels: dict[bytes, Label] = field(default_factory=dict)
    _train: dict[str, list[bytes]] = field(default_factory=dict)
    _holdout: dict[str, list[bytes]] = field(default_factory=dict)
    _rejected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.adapter = self.origin

    def run_round(self, samples: Sequence[Sample]) -> Outcome:
        """One round over `samples`; the next version is in `adapter` where it was released."""
        clock = _Stopwatch()
        self.num_rounds += 1
        plan, number = self.plan, f"{self.num_rounds:06d}"
        seed = plan.seed * 1_000 + self.num_rounds
        self._samples |= {sample.id: sample for sample in samples}
        ids = [sample.id for sample in samples]
        train, held = split_holdout(ids, share=plan.holdout_share, seed=seed)
        train_again, learnt = set_apart(self._train, self._rejected[::-1])
        held_again, recalled = set_apart(self._holdout, self._rejected[::-1])
        rehearsal = choose_rehearsal(learnt, count=plan.rehearsal_samples, seed=seed)
        recall = choose_rehearsal(recalled, count=plan.recall_samples, seed=seed)
        with clock.part("label"):
            labels = self.workers.label(self.pair.dir, samples, ignore)
        self._labels |= {label.sample_id: label for label in labels}
        self._train[number], self._holdout[number] = train, held
        train, held = [*train, *train_again], [*held, *held_again]
        job = DistillJob(
            pair_dir=self.pair.dir,
            seed=seed,
            start=self.adapter,
            samples=self._of(train),
            labels=[self._labels[one] for one in train],
            rehearsal=self._of(rehearsal),
            rehearsal_labels=[self._labels[one] for one in rehearsal],
            settings=self.settings.to_mapping(),
        )
        with clock.part("learn"):
            distilled = self.workers.distil(job, ignore)
        gate = ScoredGate(
            self.workers,
            ScoreJob(
                pair_dir=self.pair.dir,
                holdout=self._of(held),
                labels=[self._labels[one] for one in held],
                rehearsal=self._of(recall),
                rehearsal_labels=[self._labels[one] for one in recall],
                questions=plan.gate_questions,
                seed=seed,
                settings=self.settings.to_mapping(),
            ),
            origin=self.origin,
            limits=plan.gate,
            keep_gain=1.0 - plan.dwc.epsilon,
        )
        outcome = self._released(distilled, gate, len(samples), clock)
        self._rejected = [*self._rejected, number] if outcome.state == REJECTED else []
        return outcome

    def _released(
        self, distilled: Distilled, gate: ScoredGate, num_samples: int, clock: _Stopwatch
    ) -> Outcome:
        """Judge, pack, judge again, and make it the next version."""

        def ended(state: str, reason: str, num_bytes: int = 0) -> Outcome:
            return Outcome(
                state=state,
                reason=reason,
                num_bytes=num_bytes,
                num_samples=num_samples,
                num_steps=int(distilled.numbers.get("num_steps", 0)),
                numbers=dict(distilled.numbers),
                seconds=clock.seconds,
            )

        base, gated = self.adapter, self.baseline.gated
        if gated:
            with clock.part("gate"):
                step, verdict = gate.longest_step(distilled.adapter, base)
            if not verdict.accepted:
                return ended(REJECTED, verdict.reason)
            distilled = replace(distilled, adapter=along(base, distilled.adapter, step))
        with clock.part("pack"):
            shipped = self.baseline.pack(
                Candidate(
                    base=base,
                    distilled=distilled,
                    residual=self.residual or no_residual(base),
                    gate=gate,
                    cost=self._cost,
                    settings=self.plan.dwc,
                )
            )
            packed = gate.judge(shipped.adapter, base) if gated else None
        if packed is not None and not packed.accepted:
            return ended(REJECTED, f"no packing passes: {packed.reason}")
        if not all(bool(np.isfinite(array).all()) for array in shipped.adapter.values()):
            return ended(REJECTED, "the candidate is not finite")
        self.adapter, self.residual = shipped.adapter, shipped.residual
        self.version += 1
        return ended(RELEASED, shipped.label, shipped.num_bytes)

    def _of(self, ids: Sequence[bytes]) -> list[Sample]:
        return [self._samples[one] for one in ids]

    def _cost(self, packed: Packed) -> int:
        """Bytes of an update with the manifest it would have."""
        pair = self.pair
        manifest = manifest_of(
            packed,
            Line(
                pair=pair.name,
                pair_dir=pair.dir,
                base_model=pair.base_model,
                token_space=pair.token_space,
            ),
            Lineage(
                round_id="0" * _ROUND_ID_CHARS,
                num_samples=self.plan.round_samples,
                created_unix_s=_CREATED_S,
                gate={"agreement": 1.0, "source_accuracy": 1.0},
            ),
            base_version=self.version,
            target_version=self.version + 1,
        )
        return update_bytes(manifest)


class _Stopwatch:
    """Seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside belongs to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + passed
