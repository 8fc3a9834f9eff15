"""What the device's applier sees of the cloud: its calls, over a link of the virtual clock.

Each call sleeps as long as its messages are on their way; the device answers meanwhile. A check
that takes longer than the device would wait fails as it would there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from driftline_device.link.settings import LinkSettings
from driftline_lab.replay.clock import VirtualClock
from driftline_lab.replay.cloud.side import CloudSide
from driftline_lab.replay.links import Link
from driftline_shared.errors import LinkError
from driftline_shared.status import UpdateQuery, UpdateReport
from driftline_shared.update import MANIFEST_FORMAT, Manifest
from driftline_shared.wire import dump_manifest

_FIRST_KEY = 1 << 32
"""Transfers of the uplink have lower keys."""


@dataclass(kw_only=True, slots=True)
class SeenUpdate:
    """What came of one version: the digest of its adapter, and the bytes of manifest and blob, as
    often as they came.
    """

    digest: str
    num_bytes: int = 0


class VirtualDownlink:
    """The `UpdateLink` protocol. `probe_s`: what probing a new version takes after a fetch."""

    def __init__(
        self,
        *,
        device_id: str,
        base_model: str,
        cloud: CloudSide,
        link: Link,
        clock: VirtualClock,
        settings: LinkSettings,
        probe_s: float,
    ) -> None:
        self._device_id = device_id
        self._base_model = base_model
        self._cloud = cloud
        self._link = link
        self._clock = clock
        self._settings = settings
        self._probe_s = probe_s
        self._num_calls = 0
        self.seen: dict[int, SeenUpdate] = {}

    def check(self, *, adapter_version: int, failed_versions: Sequence[int]) -> Manifest | None:
        """See `UpdateLink`."""
        self._pass(self._call_s())
        manifest = self._cloud.check(
            UpdateQuery(
                device_id=self._device_id,
                base_model=self._base_model,
                adapter_version=adapter_version,
                failed_versions=tuple(failed_versions),
                manifest_format=MANIFEST_FORMAT,
            )
        )
        if manifest is not None:
            self._came(manifest, len(dump_manifest(manifest)))
        return manifest

    def fetch(self, manifest: Manifest) -> bytes:
        """See `UpdateLink`."""
        blob = self._cloud.fetch(self._device_id, manifest)
        self._came(manifest, len(blob))
        self._num_calls += 1
        start_s = self._clock.monotonic_s()
        key = _FIRST_KEY + self._num_calls
        sent = self._link.send(len(blob), start_s=start_s, direction="down", key=key)
        half_s = self._link.profile.round_trip_s / 2  # for the request to get there
        self._clock.sleep(sent.end_s - start_s + half_s + self._probe_s)
        return blob

    def report(self, report: UpdateReport) -> None:
        """See `UpdateLink`."""
        self._pass(self._call_s())
        self._cloud.report(self._device_id, report)

    def _call_s(self) -> float:
        self._num_calls += 1
        now_s = self._clock.monotonic_s()
        return self._link.round_trip(start_s=now_s) - now_s

    def _pass(self, seconds: float) -> None:
        most_s = self._settings.call_timeout_s
        self._clock.sleep(min(seconds, most_s))
        if seconds > most_s:
            raise LinkError(f"no answer within {most_s:.0f} s")

    def _came(self, manifest: Manifest, num_bytes: int) -> None:
        seen = self.seen.setdefault(
            manifest.target_version, SeenUpdate(digest=manifest.target_digest.hex())
        )
        seen.num_bytes += num_bytes
