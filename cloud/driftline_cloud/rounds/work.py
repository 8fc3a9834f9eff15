"""The work of each state of a round. Every piece may run again: it gives the same result.

Work depends on what is stored (samples, parts, labels, the candidate's file) and on the round's
seed, never on the time, on what waits meanwhile, or on how often it was started.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from driftline_cloud.blobs.store import BlobStore, StoreAwayError
from driftline_cloud.distill.checkpoints.kept import StoredCheckpoints
from driftline_cloud.distill.gate.rule import GateLimits
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.intake.line import Line
from driftline_cloud.intake.rehearsal import choose_rehearsal, set_apart, split_holdout
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.jobs import Distilled, DistillJob, Label, ScoreJob
from driftline_cloud.rollout.orders import RolloutOrders, withdrawn_text
from driftline_cloud.rollout.plan import RolloutSettings
from driftline_cloud.rounds.culprits import OF_ITEM, OF_SET_UP
from driftline_cloud.rounds.group_work import SPLIT, STAYS, GroupWork
from driftline_cloud.rounds.ledger import (
    HOLDOUT,
    HOLDOUT_AGAIN,
    RECALL,
    REHEARSAL,
    TRAIN,
    TRAIN_AGAIN,
    RoundLedger,
)
from driftline_cloud.rounds.releases import Releases
from driftline_cloud.rounds.round import Round, RoundState, advance
from driftline_cloud.rounds.scored_gate import ScoredGate, along, steps_from
from driftline_cloud.rounds.screen_work import ScreenWork
from driftline_cloud.rounds.settings import RoundSettings
from driftline_cloud.rounds.sieve import Sieve, check_labels
from driftline_cloud.workers import artifacts
from driftline_cloud.workers.workers import Workers
from driftline_shared.callbacks import Progress, ignore, part_of
from driftline_shared.errors import DriftlineError
from driftline_shared.host.clock import Clock
from driftline_shared.tokens import Sample

_log = structlog.get_logger(__name__)

_ONE_STEP: Mapping[str, object] = {
    "min_steps": 1,
    "max_steps": 1,
    "extra_questions": 0,
    "asked_questions": 0,
}
"""Distil settings with which a sample is only tried."""

OLDER = (TRAIN_AGAIN, HOLDOUT_AGAIN, REHEARSAL, RECALL)
"""Parts of a round that earlier rounds had."""

LABELS_ASKED = "labels.asked"
"""Among a round's numbers: answers of the teacher that it had to ask for."""

_STEP = "gate.step"
"""Among a round's numbers: the share of the way from C_v to the training's result that is taken."""


@dataclass(kw_only=True)
class RoundWork:
    """Does the work of one state and gives the round as it is after it.

    `teacher`: the key of its labels. `kept`: what a round keeps is below its id there.
    """

    line: Line
    store: SampleStore
    ledger: RoundLedger
    workers: Workers
    releases: Releases
    teacher: str
    settings: RoundSettings
    distil: DistilSettings
    limits: GateLimits
    kept: BlobStore
    clock: Clock
    sieve: Sieve
    screening: ScreenWork
    rollouts: RolloutOrders
    rollout: RolloutSettings
    groups: GroupWork
    _gate: tuple[str, ScoredGate] | None = field(default=None, init=False)

    def do(self, round_: Round, report: Progress) -> Round:
        """Work on the present state of `round_`; `report` may raise to cut the work off."""
        work = {
            RoundState.SNAPSHOT: self._snapshot,
            RoundState.LABELLING: self._label,
            RoundState.DISTILLING: self._distil,
            RoundState.GROUPING: self._group,
            RoundState.GATING: self._judge,
            RoundState.COMPRESSING: self._compress,
            RoundState.RELEASING: self._release,
        }
        return work[round_.state](round_, report)

    def why_withdrawn(self, round_: Round) -> str:
        """Why nothing can come of `round_` any more: what it builds on was stopped; else empty."""
        withdrawn = self.rollouts.is_withdrawn(self.line.id, round_.base_version)
        return withdrawn_text(round_.base_version) if withdrawn else ""

    def forget_rollout(self, round_: Round) -> None:
        """The round releases nothing after all."""
        self.rollouts.forget(self.line.id, round_.target_version, round_id=round_.id)

    def tidy(self, round_: Round) -> None:
        """A round is over: let its gate go, with the models it holds, and its checkpoint."""
        self._gate = None
        self._checkpoints(round_).drop()

    def forget_before(self, number: int) -> None:
        """Drop what the rounds of the line up to `number` kept; what cannot be dropped now goes
        another time.
        """
        newest_old = f"{self.line.id}-r{number:04d}"
        try:
            for key in self.kept.list():
                folder = key.partition("/")[0]
                if folder.startswith(f"{self.line.id}-r") and folder <= newest_old:
                    self.kept.delete(key)
        except (OSError, StoreAwayError) as error:
            _log.warning("artifacts.not_dropped", line=self.line.id, cause=str(error))

    def _snapshot(self, round_: Round, report: Progress) -> Round:
        own = self.ledger.claimed(round_.id)
        train, holdout = split_holdout(
            own,
            share=self.settings.holdout_share,
            seed=round_.seed,
            devices=self.ledger.devices(own),
        )
        parts = {TRAIN: train, HOLDOUT: holdout}
        rejected = self.ledger.rejected_since_release(self.line.id, before=round_.number)
        for source, again, part, count in (
            (TRAIN, TRAIN_AGAIN, REHEARSAL, self.settings.rehearsal_samples),
            (HOLDOUT, HOLDOUT_AGAIN, RECALL, self.settings.recall_samples),
        ):
            older = self.ledger.older(self.line.id, before=round_.number, part=source)
            unlearnt, learnt = set_apart(older, rejected)
            parts[again] = unlearnt[: max(0, self.settings.most_samples - len(own))]
            parts[part] = choose_rehearsal(learnt, count=count, seed=round_.seed)
        self.ledger.save_parts(round_.id, parts)
        numbers = {f"samples.{part}": float(len(ids)) for part, ids in parts.items()}
        numbers[LABELS_ASKED] = float(self._num_unlabelled(parts))
        return self._next(round_, RoundState.LABELLING, numbers)

    def _num_unlabelled(self, parts: Mapping[str, Sequence[bytes]]) -> int:
        """How many labels the teacher is to give: what it costs, whoever resumes the round."""
        ids = list({one for some in parts.values() for one in some})
        size = max(1, self.settings.label_chunk_samples)
        chunks = [ids[start : start + size] for start in range(0, len(ids), size)]
        known = sum(len(self.store.labelled(one, teacher=self.teacher)) for one in chunks)
        return len(ids) - known

    def _label(self, round_: Round, report: Progress) -> Round:
        parts, size = self.ledger.parts(round_.id), max(1, self.settings.label_chunk_samples)
        # Most of the older ones are labelled already: beside fresh ones they would leave gaps.
        groups = ([*parts[TRAIN], *parts[HOLDOUT]], [one for part in OLDER for one in parts[part]])
        num_ids, num_done = sum(len(ids) for ids in groups), 0
        for ids in groups:
            for start in range(0, len(ids), size):
                chunk = ids[start : start + size]
                part = part_of(report, num_done / num_ids, len(chunk) / num_ids)
                self._label_chunk(round_, chunk, part)
                num_done += len(chunk)
                report(num_done / num_ids)
        numbers = self.screening.work(round_)
        left = self.ledger.parts(round_.id)
        if not left[TRAIN] + left[TRAIN_AGAIN] or not left[HOLDOUT] + left[HOLDOUT_AGAIN]:
            return advance(
                round_,
                RoundState.FAILED,
                now_unix_s=self.clock.now_s(),
                reason=f"too few of {round_.num_samples} samples can be labelled, the others are "
                "in quarantine",
                numbers=numbers,
            )
        return self._next(round_, RoundState.DISTILLING, numbers)

    def _label_chunk(self, round_: Round, ids: Sequence[bytes], report: Progress) -> None:
        """Labels for those of `ids` that have none, kept as each batch comes; those that cannot be
        labelled go into quarantine.

        Batches are planned over all of them, not over what is missing: a round that was cut off
        gives the teacher the very batches that an undisturbed one would.
        """
        before = self.store.labelled(ids, teacher=self.teacher)
        missing = [one for one in ids if one not in before]
        kept: set[bytes] = set()

        def keep(labels: Sequence[Label]) -> None:
            found = [label.sample_id for label in labels]
            check_labels(labels, found)
            self.store.put_labels(labels, teacher=self.teacher)
            kept.update(found)

        def label(some: Sequence[bytes]) -> None:
            if len(some) == len(missing):
                asked, around, known = missing, ids, before
            else:
                # One alone is asked whatever is known: it is looked at, or shows that asking works.
                asked = [one for one in some if len(some) == 1 or one not in kept]
                around, known = asked, set()
            samples = self.store.load(around) if asked else []
            labels = self.workers.label(self.line.pair_dir, samples, report, known, keep)
            check_labels(labels, asked)

        def control(good: Sequence[Sample]) -> None:
            check_labels(
                self.workers.label(self.line.pair_dir, good, ignore), [one.id for one in good]
            )

        self.sieve.work(round_.id, missing, label, control=control)

    def _distil(self, round_: Round, report: Progress) -> Round:
        place = self.kept.within(round_.id)
        distilled = artifacts.load_distilled(place)
        checkpoints = self._checkpoints(round_)
        if distilled is None:
            distilled = self._trained(round_, report, checkpoints)
            self.ledger.guard()
            artifacts.save_distilled(place, distilled)
        checkpoints.drop()
        found, seen = self.groups.look(round_)
        to = RoundState.GROUPING if len(found.groups) > 1 else RoundState.GATING
        return self._next(round_, to, {**_prefixed("distil", distilled.numbers), **seen})

    def _group(self, round_: Round, report: Progress) -> Round:
        return self.groups.work(
            round_,
            self._distilled(round_),
            self._job(round_),
            self._held(round_),
            self.releases.registry.canonical(self.line.id, 0),
            self.kept.within(round_.id),
            report,
        )

    def _checkpoints(self, round_: Round) -> StoredCheckpoints:
        return StoredCheckpoints(
            store=self.kept.within(round_.id),
            key="distilling.checkpoint",
            every_s=self.settings.checkpoint_s,
        )

    def _trained(
        self, round_: Round, report: Progress, checkpoints: StoredCheckpoints
    ) -> Distilled:
        """The training's result; samples that cannot be trained on go into quarantine."""
        job = self._job(round_)
        try:
            return self.workers.distil(job, report, checkpoints)
        except OF_SET_UP:
            raise
        except Exception as error:
            # Most errors pass; to train again costs less than to look at each sample.
            last = round_.num_errors + 1 >= self.settings.retry.max_errors
            if not last and not isinstance(error, OF_ITEM):
                raise
            _log.warning("distil.looked_into", round=round_.id, cause=str(error))
            labels = {one.sample_id: one for one in (*job.labels, *job.rehearsal_labels)}
            samples = {one.id: one for one in (*job.samples, *job.rehearsal)}

            def try_one_step(some: Sequence[bytes]) -> None:
                probe = replace(
                    job,
                    samples=[samples[one] for one in some],
                    labels=[labels[one] for one in some],
                    rehearsal=(),
                    rehearsal_labels=(),
                    settings={**job.settings, **_ONE_STEP},
                )
                self.workers.distil(probe, ignore)

            if not self.sieve.work(round_.id, list(samples), try_one_step):
                raise
        return self.workers.distil(self._job(round_), report, checkpoints)

    def _judge(self, round_: Round, report: Progress) -> Round:
        base = self.releases.registry.canonical(self.line.id, round_.base_version)
        step, verdict = self._gate_of(round_).longest_step(self._distilled(round_).adapter, base)
        numbers = {**_prefixed("gate", verdict.numbers), _STEP: step}
        if not verdict.accepted:
            return self._reject(round_, verdict.reason, numbers)
        return self._next(round_, RoundState.COMPRESSING, numbers)

    def _compress(self, round_: Round, report: Progress) -> Round:
        place, gate = self.kept.within(round_.id), self._gate_of(round_)
        for step in steps_from(round_.numbers.get(_STEP, 1.0)):
            candidate = self._candidate(round_, step)
            verdict = self.releases.compress(round_, candidate, gate, place, report)
            if not verdict.forgets:
                break
            # Coding moves what is forgotten by a little, now up and now down: a shorter step has
            # room for that.
            _log.info("update.step_shortened", round=round_.id, step=step, reason=verdict.reason)
        numbers = {**_prefixed("update", verdict.numbers), _STEP: step}
        if not verdict.accepted:
            return self._reject(round_, verdict.reason, numbers)
        if self.settings.fit_p_ik:
            adapter = self.releases.packed(place).adapter
            head = self.workers.fit_head(self._job(round_), adapter, version=round_.target_version)
            self.releases.keep_head(place, head)
            numbers["update.p_ik_bytes"] = float(len(head))
        return self._next(round_, RoundState.RELEASING, numbers)

    def _release(self, round_: Round, report: Progress) -> Round:
        self.ledger.guard()
        # Before anyone can see it: whom it may reach.
        self.rollouts.begin(
            self.line.id,
            round_.target_version,
            round_id=round_.id,
            base_version=round_.base_version,
            settings=self.rollout,
        )
        manifest = self.releases.publish(round_, self.kept.within(round_.id))
        version, num_bytes = manifest.target_version, manifest.blob_bytes
        self.ledger.add_version(
            self.line.id,
            version,
            round_id=round_.id,
            digest=manifest.target_digest.hex(),
            now_unix_s=int(self.clock.now_s()),
        )
        _log.info("version.released", line=self.line.id, version=version, blob_bytes=num_bytes)
        return self._next(round_, RoundState.DONE, {"update.blob_bytes": float(num_bytes)})

    def _next(self, round_: Round, to: RoundState, numbers: Mapping[str, float]) -> Round:
        return advance(round_, to, now_unix_s=self.clock.now_s(), numbers=numbers)

    def _reject(self, round_: Round, reason: str, numbers: Mapping[str, float]) -> Round:
        _log.info("round.rejected", round=round_.id, reason=reason)
        return advance(
            round_,
            RoundState.REJECTED,
            now_unix_s=self.clock.now_s(),
            reason=reason,
            numbers=numbers,
        )

    def _job(self, round_: Round) -> DistillJob:
        parts = self.ledger.parts(round_.id)
        fresh = [*parts[TRAIN], *parts[TRAIN_AGAIN]]
        return DistillJob(
            pair_dir=self.line.pair_dir,
            seed=round_.seed,
            start=self.releases.registry.canonical(self.line.id, round_.base_version),
            samples=self.store.load(fresh),
            labels=self._labels(fresh),
            rehearsal=self.store.load(parts[REHEARSAL]),
            rehearsal_labels=self._labels(parts[REHEARSAL]),
            settings=self.distil.to_mapping(),
        )

    def _candidate(self, round_: Round, step: float) -> Distilled:
        """So much of the way to the training's result."""
        distilled = self._distilled(round_)
        base = self.releases.registry.canonical(self.line.id, round_.base_version)
        return replace(distilled, adapter=along(base, distilled.adapter, step))

    def _distilled(self, round_: Round) -> Distilled:
        place = self.kept.within(round_.id)
        split = bool(round_.numbers.get(SPLIT))
        distilled = artifacts.load_distilled(place.within(STAYS) if split else place)
        if distilled is None:
            where = self.kept.place
            raise DriftlineError(f"the candidate of round {round_.id} is gone from {where}")
        return distilled

    def _gate_of(self, round_: Round) -> ScoredGate:
        if self._gate is None or self._gate[0] != round_.id:
            gate = ScoredGate(
                self.workers,
                self._held(round_),
                origin=self.releases.registry.canonical(self.line.id, 0),
                limits=self.limits,
                keep_gain=self.releases.keep_gain,
            )
            self._gate = (round_.id, gate)
        return self._gate[1]

    def _held(self, round_: Round) -> ScoreJob:
        parts = self.ledger.parts(round_.id)
        held = [*parts[HOLDOUT], *parts[HOLDOUT_AGAIN]]
        return ScoreJob(
            pair_dir=self.line.pair_dir,
            holdout=self.store.load(held),
            labels=self._labels(held),
            rehearsal=self.store.load(parts[RECALL]),
            rehearsal_labels=self._labels(parts[RECALL]),
            questions=self.settings.gate_questions,
            seed=round_.seed,
            settings=self.distil.to_mapping(),
        )

    def _labels(self, ids: Sequence[bytes]) -> list[Label]:
        known = self.store.labels(ids, teacher=self.teacher)
        missing = [one for one in ids if one not in known]
        if missing:
            raise DriftlineError(f"{len(missing)} samples have no label by the present teacher")
        return [known[one] for one in ids]


def _prefixed(word: str, numbers: Mapping[str, float]) -> dict[str, float]:
    """Numbers under `word`, without those that neither JSON nor the wire can carry."""
    found = {f"{word}.{name}": float(value) for name, value in numbers.items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}
