"""The cloud in the process of the replay: direct calls in place of gRPC, on the same wire bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from driftline_cloud.service import calls
from driftline_cloud.service.assembly import WholeCloud, assemble
from driftline_cloud.state import StateFolder
from driftline_lab.replay.cloud import side
from driftline_lab.replay.cloud.makers import CloudPlan, Remembered, replay_makers
from driftline_lab.replay.cloud.side import CloudSummary, StepDone
from driftline_shared import wire
from driftline_shared.bounds import MAX_CHUNK_BYTES
from driftline_shared.host.clock import Clock
from driftline_shared.status import Enrolment, SampleAck, UpdateQuery, UpdateReport, Welcome
from driftline_shared.update import Manifest


class LocalCloud:
    """The `CloudSide` protocol over the parts of a cloud; everything passes the wire's checks."""

    def __init__(self, plan: CloudPlan, clock: Clock) -> None:
        """Raises ConfigError or PairError for settings that no cloud runs with."""
        config = plan.config()
        Path(config.state).mkdir(parents=True, exist_ok=True)
        self._remembered = Remembered(plan)
        self._cloud: WholeCloud = assemble(
            config, StateFolder(config.state), replay_makers(self._remembered, clock)
        )

    def enrol(self, enrolment: Enrolment) -> Welcome:
        """See `CloudSide`."""
        asked = wire.from_enrolment(wire.to_enrolment(enrolment))
        return wire.from_welcome(wire.to_welcome(calls.enrol(self._cloud, asked)))

    def push(self, device_id: str, token_space: str, bodies: Sequence[bytes]) -> list[SampleAck]:
        """See `CloudSide`."""
        batch = wire.to_batch(device_id, token_space, bodies)
        acks = self._cloud.intake.take(batch.device_id, batch.token_space, batch.samples)
        self._cloud.metrics.count_batch(batch.ByteSize(), acks, self._cloud.first)
        return wire.from_acks(wire.to_acks(acks))

    def check(self, query: UpdateQuery) -> Manifest | None:
        """See `CloudSide`."""
        asked = wire.from_update_query(wire.to_update_query(query))
        manifest = calls.check_update(self._cloud, asked)
        return None if manifest is None else wire.from_manifest(wire.to_manifest(manifest))

    def fetch(self, device_id: str, manifest: Manifest) -> bytes:
        """See `CloudSide`."""
        self._cloud.known_device(device_id)
        blob = b""
        while data := self._cloud.registry.blobs.read(
            manifest.blob_digest, len(blob), MAX_CHUNK_BYTES
        ):
            blob += data
        return blob

    def report(self, device_id: str, report: UpdateReport) -> None:
        """See `CloudSide`."""
        calls.take_report(self._cloud, *wire.from_report(wire.to_report(device_id, report)))

    def step(self) -> StepDone:
        """See `CloudSide`."""
        return side.step(self._cloud)

    def summary(self) -> CloudSummary:
        """See `CloudSide`."""
        return side.summary(self._cloud, self._remembered.hits)

    def close(self) -> None:
        """See `CloudSide`."""
        self._cloud.close()
