"""What a daemon is put together from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from driftline_device.daemon.dial import Dial
from driftline_device.daemon.meter import Meter
from driftline_device.daemon.state_files import StateFiles
from driftline_device.escalation.desk import EscalationDesk
from driftline_device.history.history import History
from driftline_device.link.settings import LinkStats
from driftline_device.recording.events import DeviceTrace
from driftline_device.recording.spans import DeviceSpans
from driftline_device.runtime.runtime import Runtime
from driftline_device.sampling.sampler import Sampler
from driftline_device.signatures.folder import SignatureStatus
from driftline_device.sinks.publisher import Publisher
from driftline_device.spool.spool import Spool
from driftline_device.updates.applier import Applier
from driftline_device.updates.partners import UpdateLink
from driftline_shared.host.clock import Clock
from driftline_shared.status import CloudStatus


class DeviceLink(UpdateLink, Protocol):
    """What the daemon needs of the link."""

    def start(self) -> None:
        """Begin in the background."""

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End; whether it did in time."""

    def wake(self) -> None:
        """There is something to send."""

    def hold(self, held: bool) -> None:
        """Hold samples back, or let them go again."""

    def flush(self, timeout_s: float) -> bool:
        """Wait until no sample is left to send; whether that is so."""

    def stats(self) -> LinkStats:
        """The link now."""

    def status(self) -> CloudStatus:
        """The cloud now; LinkError if it cannot be reached."""


class SignatureView(Protocol):
    """What a status says of signatures."""

    @property
    def status(self) -> SignatureStatus:
        """As of the last question."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a daemon ties together; `link` is None for a device that works alone, `trace`,
    `spans` and `history` for one that records nothing and forgets what it answered, `dial` without
    a budget,
    `escalation` for one that never asks the teacher, `signatures` for one that asks for none.
    """

    state: Path
    device_id: str
    pair_name: str
    runtime: Runtime
    sampler: Sampler
    spool: Spool
    applier: Applier
    state_files: StateFiles
    meter: Meter
    publisher: Publisher
    clock: Clock
    link: DeviceLink | None = None
    trace: DeviceTrace | None = None
    spans: DeviceSpans | None = None
    history: History | None = None
    dial: Dial | None = None
    escalation: EscalationDesk | None = None
    signatures: SignatureView | None = None
