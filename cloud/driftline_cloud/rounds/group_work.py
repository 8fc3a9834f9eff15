"""Whether a round's line splits into groups of devices, and the split itself.

    distilling   samples of all devices give one candidate, as always; do devices differ?
    grouping     only if they do: a candidate a group beside it (rounds/group_question.py)
    gating       of the shared candidate; or, after a split, of that of the group that stays

A split is one transaction with the round's next state: the other groups' devices and samples go to
lines of their own, each with a round open, and the round goes on with what is left. The largest
group stays. What is found follows from the stored samples and the round's seed, so that a round
that was cut off finds the same.

    rounds/<round id>/alone-<digest>/    candidate of one group, by its devices
                      stays/             that of the group that stays, once the line has been split
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import Connection

from driftline_cloud.blobs.store import BlobStore
from driftline_cloud.distill.checkpoints.kept import StoredCheckpoints
from driftline_cloud.distill.gate.rule import GateLimits
from driftline_cloud.grouping import moves
from driftline_cloud.grouping.clusters import Found, find_groups
from driftline_cloud.grouping.moves import Order
from driftline_cloud.grouping.rule import GroupsVerdict
from driftline_cloud.grouping.settings import GroupingSettings
from driftline_cloud.grouping.statistics import features
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.line import Line
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.jobs import Distilled, DistillJob, ScoreJob
from driftline_cloud.lines.book import DROPPED
from driftline_cloud.rollout.audit import CLOUD, write_entry
from driftline_cloud.rounds.group_question import (
    NUM_STEPS,
    ask_groups,
    held_of_group,
    of_group,
)
from driftline_cloud.rounds.ledger import (
    HOLDOUT,
    HOLDOUT_AGAIN,
    TRAIN,
    TRAIN_AGAIN,
    RoundLedger,
    open_round,
)
from driftline_cloud.rounds.round import Round, RoundState, advance, new_round
from driftline_cloud.rounds.settings import RoundSettings
from driftline_cloud.workers import artifacts
from driftline_cloud.workers.workers import Workers
from driftline_shared.callbacks import Progress, part_of
from driftline_shared.errors import DataError
from driftline_shared.host.clock import Clock
from driftline_shared.update import Adapter

_log = structlog.get_logger(__name__)

FRESH = (TRAIN, HOLDOUT, TRAIN_AGAIN, HOLDOUT_AGAIN)

FOUND, SPLIT, ASKED = "groups.found", "groups.split", "groups.asked"
"""Among a round's numbers: how many groups were found; 1 if its line split, if that was asked."""

STAYS = "stays"
"""Place of the candidate of the group that stays."""

LEAST_SAMPLES = 2
"""Of a group's first round: one to learn from, one to judge by."""


@dataclass(kw_only=True)
class GroupWork:
    """Finds groups of the devices of `line`, and splits it. `score`: kind of the gate score."""

    line: Line
    database: Database
    store: SampleStore
    ledger: RoundLedger
    workers: Workers
    settings: GroupingSettings
    rounds: RoundSettings
    limits: GateLimits
    score: str
    clock: Clock

    def look(self, round_: Round) -> tuple[Found, dict[str, float]]:
        """The groups of a round's devices, and what there is to tell; no group where none is to be
        made.
        """
        if not self.settings.enabled or self.line.group or (most := self._room()) < 2:
            return Found(), {}
        parts = self.ledger.parts(round_.id)
        ids = sorted({one for part in FRESH for one in parts[part]})
        owners = self.ledger.devices(ids)
        # Which devices have enough samples is known without reading one.
        if len(set(owners.values())) < 2 * self.settings.least_devices:
            return Found(), {}
        rows = features(self.store.load(ids), self.line.token_space, score=self.score)
        devices = [owners[one] for one in ids]
        found = find_groups(rows, devices, self.settings, most=most, seed=round_.seed)
        numbers = {
            FOUND: float(len(found.groups)),
            "groups.devices": float(sum(len(group) for group in found.groups)),
            "groups.silhouette": found.silhouette,
            "groups.p": found.p,
        }
        if len(found.groups) > 1 and self._rests(round_):
            return Found(), numbers
        return found, numbers

    def _room(self) -> int:
        """Into how many groups the line may split."""
        with self.database.read() as connection:
            known = moves.lines_of(connection)
            if self.line.id not in known:
                return 0  # the line of a cloud whose rows are yet to come
            alive = [row for row in moves.family(known, self.line.id) if row.state != DROPPED]
        return self.settings.most_groups - len(alive) + 1

    def _rests(self, round_: Round) -> bool:
        """Whether groups were tried in vain a few rounds ago."""
        recent = self.ledger.newest(self.line.id, limit=self.settings.again_rounds)
        return any(
            one.numbers.get(ASKED) and not one.numbers.get(SPLIT)
            for one in recent
            if one.id != round_.id
        )

    def work(
        self,
        round_: Round,
        shared: Distilled,
        job: DistillJob,
        held: ScoreJob,
        origin: Adapter,
        kept: BlobStore,
        report: Progress,
    ) -> Round:
        """Ask whether groups pay, and split the line where they do; the round as it is after it.

        `shared`: what `job` gave; `held`: what the gate judges it by; `kept`: the round's own
        place.
        """
        found, _ = self.look(round_)
        if len(found.groups) < 2:  # devices were moved meanwhile
            return self._keep(round_, {}, found.reason or "devices were moved meanwhile")
        own = self._own(found.groups, job, held)
        alone = self._candidates(found.groups, own, job, shared, kept, report)
        verdict = ask_groups(
            self.workers,
            base=job.start,
            origin=origin,
            shared=shared.adapter,
            alone=[one.adapter for one in alone],
            held=held,
            held_alone=[held_of_group(held, ids) for ids in own],
            limits=self.limits,
            settings=self.settings,
            report=part_of(report, 0.8, 0.2),
        )
        numbers = {f"groups.{name}": value for name, value in verdict.numbers.items()}
        numbers |= {ASKED: 1.0, SPLIT: 0.0}
        if not verdict.pays:
            return self._keep(round_, numbers, verdict.reason)
        artifacts.save_distilled(kept.within(STAYS), alone[0])
        try:
            return self._split(round_, found.groups[1:], numbers, verdict)
        except DataError as error:  # a version is on its way by now, or devices were moved
            return self._keep(round_, numbers, f"{verdict.reason}; not now: {error}")

    def _own(
        self, groups: Sequence[Sequence[str]], job: DistillJob, held: ScoreJob
    ) -> list[set[bytes]]:
        """Ids of each group's samples; what belongs to none of the others stays with the first."""
        samples = [*job.samples, *job.rehearsal, *held.holdout, *held.rehearsal]
        owners = self.ledger.devices([sample.id for sample in samples])
        place = {one: number for number, group in enumerate(groups) for one in group}
        own: list[set[bytes]] = [set() for _ in groups]
        for one, device in owners.items():
            own[place.get(device, 0)].add(one)
        return own

    def _candidates(
        self,
        groups: Sequence[Sequence[str]],
        own: Sequence[set[bytes]],
        job: DistillJob,
        shared: Distilled,
        kept: BlobStore,
        report: Progress,
    ) -> list[Distilled]:
        num_steps = max(1, int(shared.numbers.get(NUM_STEPS, 0.0)))
        found = []
        for number, (group, ids) in enumerate(zip(groups, own, strict=True)):
            name = hashlib.sha256("\0".join(group).encode()).hexdigest()[:12]
            place = kept.within(f"alone-{name}")
            distilled = artifacts.load_distilled(place)
            if distilled is None:
                checkpoints = StoredCheckpoints(
                    store=place, key="distilling.checkpoint", every_s=self.rounds.checkpoint_s
                )
                part = part_of(report, 0.8 * number / len(groups), 0.8 / len(groups))
                distilled = self.workers.distil(of_group(job, ids, num_steps), part, checkpoints)
                self.ledger.guard()
                artifacts.save_distilled(place, distilled)
                checkpoints.drop()
            found.append(distilled)
        return found

    def _keep(self, round_: Round, numbers: dict[str, float], reason: str) -> Round:
        """The line stays one."""
        after = advance(round_, RoundState.GATING, now_unix_s=self.clock.now_s(), numbers=numbers)
        _log.info("line.kept_together", line=self.line.id, round=round_.id, reason=reason)

        def write(connection: Connection) -> None:
            write_entry(
                connection,
                now_unix_s=int(self.clock.now_s()),
                who=CLOUD,
                action="keep",
                line=self.line.id,
                version=round_.base_version,
                detail=f"{round_.id}: one adapter for all: {reason}",
            )

        self.ledger.save(after, write)
        return after

    def _split(
        self,
        round_: Round,
        groups: Sequence[Sequence[str]],
        numbers: dict[str, float],
        verdict: GroupsVerdict,
    ) -> Round:
        owners = self.ledger.devices(self.ledger.claimed(round_.id))
        leaving = {one for group in groups for one in group}
        num_left = sum(device not in leaving for device in owners.values())
        after = advance(
            round_,
            RoundState.GATING,
            now_unix_s=self.clock.now_s(),
            numbers={**numbers, SPLIT: 1.0},
        )
        after = replace(after, num_samples=num_left)
        order = Order(
            who=CLOUD,
            why=f"{round_.id}: {verdict.reason}",
            now_unix_s=int(self.clock.now_s()),
        )
        self.ledger.save(after, lambda connection: self._leave(connection, round_, groups, order))
        _log.info("line.split", line=self.line.id, round=round_.id, reason=verdict.reason)
        return after

    def _leave(
        self,
        connection: Connection,
        round_: Round,
        groups: Sequence[Sequence[str]],
        order: Order,
    ) -> None:
        for group in groups:
            moves.release_samples(connection, round_.id, group)
            name = moves.free_name(moves.lines_of(connection), self.line.id)
            child = moves.split(connection, self.line.id, name, group, order)
            open_round(
                connection,
                child.id,
                self.rounds.shares(now_unix_s=order.now_unix_s),
                least_samples=LEAST_SAMPLES,
                make=lambda number, num_samples, child=child: new_round(  # type: ignore[misc]
                    line=child.id,
                    number=number,
                    base_seed=self.rounds.seed,
                    num_samples=num_samples,
                    base_version=child.forked_version,
                    trigger="split",
                    now_unix_s=order.now_unix_s,
                ),
            )
