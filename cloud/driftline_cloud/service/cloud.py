"""The parts of a running cloud, and what an operator sees of them. No gRPC here."""

from __future__ import annotations

from dataclasses import dataclass

from driftline_cloud.corrections.store import CorrectionStore
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import Device, DeviceRegister
from driftline_cloud.intake.intake import Intake
from driftline_cloud.intake.line import Line
from driftline_cloud.intake.quarantine import Quarantine
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rollout.keeper import RolloutKeeper
from driftline_cloud.rollout.offers import Offers
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.rounds.board import WORKING, Board
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.opening import RoundOpening
from driftline_cloud.rounds.round import Round
from driftline_cloud.service.metrics import CloudMetrics
from driftline_cloud.service.recording import CloudTrace
from driftline_shared.errors import LinkError, Reason
from driftline_shared.host.clock import Clock
from driftline_shared.status import CloudStatus, DevicePage, LineStatus, RoundStatus
from driftline_shared.tokens import SamplingPolicy


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """What the servicers share: one line, its state, its rounds. Its methods block: use threads."""

    line: Line
    database: Database
    devices: DeviceRegister
    store: SampleStore
    quarantine: Quarantine
    ledger: RoundLedger
    intake: Intake
    registry: ReleaseRegistry
    rollouts: RolloutStore
    offers: Offers
    keeper: RolloutKeeper
    opening: RoundOpening
    board: Board
    corrections: CorrectionStore
    correction_poll_s: float
    policy: SamplingPolicy
    metrics: CloudMetrics
    clock: Clock
    version: str
    trace: CloudTrace | None = None

    @property
    def cloud_id(self) -> str:
        return self.database.cloud_id

    def known_device(self, device_id: str) -> Device:
        """The device of that id; `LinkError` (unknown_device) if it never enrolled."""
        device = self.devices.find(device_id)
        if device is None:
            raise LinkError(f"device {device_id} is not enrolled", reason=Reason.UNKNOWN_DEVICE)
        return device

    def status(self, page: DevicePage = DevicePage()) -> CloudStatus:  # noqa: B008 (frozen)
        """What an operator sees, with a page of the devices."""
        counts = self.store.counts(self.line.id)
        newest = self.ledger.newest(self.line.id)
        line = LineStatus(
            line=self.line.id,
            newest_version=self.registry.newest_version(self.line.id),
            num_samples=counts.num_samples,
            num_waiting=counts.num_waiting,
            num_rounds=self.ledger.count(self.line.id),
            round=self._round_status(newest[0]) if newest else None,
            devices=self.devices.of_line(self.line.id, limit=page.num_devices, offset=page.offset),
            num_devices=self.devices.count(self.line.id),
            num_quarantined=counts.num_quarantined,
            workers=self.board.workers(),
            rollout=self.rollouts.status(self.line.id, now_unix_s=int(self.clock.now_s())),
        )
        self.metrics.show_line(line)
        return CloudStatus(cloud_id=self.cloud_id, version=self.version, lines=(line,))

    def start_round(self, line: str) -> RoundStatus:
        """Open a round on `line` (empty: the only one) with what waits now.

        Raises LinkError: `line_unknown`, `round_open`, `too_few_samples`.
        """
        if line not in ("", self.line.id):
            raise LinkError(
                f"there is no line {line!r} here, only {self.line.id}", reason=Reason.LINE_UNKNOWN
            )
        return self._round_status(self.opening.by_order())

    def close(self) -> None:
        """Let trace and database go."""
        if self.trace is not None:
            self.trace.close()
        self.devices.close()
        self.database.close()

    def progress(self) -> float:
        """Share done of the present state of the open round, 0..1, as its worker last said."""
        working = [each.progress for each in self.board.workers() if each.state == WORKING]
        return working[0] if working else 0.0

    def _round_status(self, round_: Round) -> RoundStatus:
        return RoundStatus(
            round_id=round_.id,
            state=str(round_.state),
            num_samples=round_.num_samples,
            target_version=round_.target_version,
            reason=round_.reason,
            numbers=dict(round_.numbers),
            progress=self.progress() if round_.is_open else 1.0,
        )
