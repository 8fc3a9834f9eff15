"""The parts of a running cloud, shared by its lines, and what an operator sees. No gRPC here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from driftline_cloud.corrections.store import CorrectionStore
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import Device, DeviceRegister
from driftline_cloud.intake.quarantine import Quarantine
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.lines.book import KnownLine
from driftline_cloud.lines.unknown import UnknownBases
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rollout.keeper import RolloutKeeper
from driftline_cloud.rollout.offers import Offers
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.rounds.board import WORKING
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import Round
from driftline_cloud.service.lines import Lines, ServedLine
from driftline_cloud.service.metrics import CloudMetrics
from driftline_cloud.signing.signing import Signing
from driftline_cloud.trust.trust import CloudTrust
from driftline_shared.errors import LinkError, Reason
from driftline_shared.host.clock import Clock
from driftline_shared.spans.spans import Spans
from driftline_shared.status import CloudStatus, DevicePage, LineStatus, RoundStatus


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """What the servicers share: the lines, their state, their rounds. Its methods block: use
    threads. `first`: the line of the configured pair. `trust`: None in a cloud without an
    authority, where anybody may call. `signing`: None where updates are not signed.
    """

    first: str
    lines: Lines
    unknown: UnknownBases
    database: Database
    devices: DeviceRegister
    store: SampleStore
    quarantine: Quarantine
    ledger: RoundLedger
    registry: ReleaseRegistry
    rollouts: RolloutStore
    offers: Offers
    keeper: RolloutKeeper
    corrections: CorrectionStore
    correction_poll_s: float
    metrics: CloudMetrics
    clock: Clock
    version: str
    trust: CloudTrust | None = None
    signing: Signing | None = None
    spans: Spans | None = None

    @property
    def cloud_id(self) -> str:
        return self.database.cloud_id

    def known_device(self, device_id: str) -> Device:
        """The device of that id; `LinkError` (unknown_device) if it never enrolled."""
        device = self.devices.find(device_id)
        if device is None:
            raise LinkError(f"device {device_id} is not enrolled", reason=Reason.UNKNOWN_DEVICE)
        self.lines.of(device.line)
        return device

    def line_of(self, device_id: str) -> ServedLine:
        """The line of that device; LinkError as of `known_device`."""
        return self.lines.of(self.known_device(device_id).line)

    def status(self, page: DevicePage = DevicePage()) -> CloudStatus:  # noqa: B008 (frozen)
        """What an operator sees, with a page of the devices."""
        served = tuple(self._line_status(served, page) for served in self.lines.all())
        for line in served:
            self.metrics.show_line(line)
        dropped = tuple(self._dropped_status(row) for row in self.lines.dropped())
        for line in dropped:
            self.metrics.forget_line(line.line)
        return CloudStatus(
            cloud_id=self.cloud_id,
            version=self.version,
            lines=served + dropped,
            unknown_bases=self.unknown.listed(),
            troubles=tuple(filter(None, [self.signing.trouble if self.signing else ""])),
        )

    def status_of(self, device_id: str) -> CloudStatus:
        """What a device sees: its own line, and no device."""
        line = self._line_status(self.line_of(device_id), DevicePage())
        seen = replace(line, devices=(), workers=())
        return CloudStatus(cloud_id=self.cloud_id, version=self.version, lines=(seen,))

    def _line_status(self, served: ServedLine, page: DevicePage) -> LineStatus:
        line = served.id
        counts, newest = self.store.counts(line), self.ledger.newest(line, limit=1)
        return LineStatus(
            line=line,
            newest_version=self.registry.newest_version(line),
            num_samples=counts.num_samples,
            num_waiting=counts.num_waiting,
            num_rounds=self.ledger.count(line),
            round=self._round_status(served, newest[0]) if newest else None,
            devices=self.devices.of_line(line, limit=page.num_devices, offset=page.offset),
            num_devices=self.devices.count(line),
            num_quarantined=counts.num_quarantined,
            workers=served.board.workers(),
            state=served.row.state,
            pair=served.row.pair,
            rollout=self.rollouts.status(line, now_unix_s=int(self.clock.now_s())),
        )

    def _dropped_status(self, row: KnownLine) -> LineStatus:
        counts = self.store.counts(row.id)
        return LineStatus(
            line=row.id,
            newest_version=self.registry.newest_version(row.id),
            num_samples=counts.num_samples,
            num_waiting=counts.num_waiting,
            num_quarantined=counts.num_quarantined,
            num_rounds=self.ledger.count(row.id),
            round=None,
            devices=(),
            num_devices=self.devices.count(row.id),
            state=row.state,
            pair=row.pair,
        )

    def start_round(self, line: str) -> RoundStatus:
        """Open a round on `line` (empty: the only one) with what waits now.

        Raises LinkError: `line_unknown`, `line_paused`, `round_open`, `too_few_samples`.
        """
        served = self.lines.named(line)
        if served.is_paused:
            raise LinkError(f"line {served.id} is paused", reason=Reason.LINE_PAUSED)
        return self._round_status(served, served.opening.by_order())

    def close(self) -> None:
        """Let traces, spans and database go."""
        self.lines.close()
        if self.spans is not None:
            self.spans.close()
        self.devices.close()
        self.database.close()

    def progress(self, line: ServedLine) -> float:
        """Share done of the present state of the open round, 0..1, as its worker last said."""
        working = [each.progress for each in line.board.workers() if each.state == WORKING]
        return working[0] if working else 0.0

    def _round_status(self, line: ServedLine, round_: Round) -> RoundStatus:
        return RoundStatus(
            round_id=round_.id,
            state=str(round_.state),
            num_samples=round_.num_samples,
            target_version=round_.target_version,
            reason=round_.reason,
            numbers=dict(round_.numbers),
            progress=self.progress(line) if round_.is_open else 1.0,
        )
