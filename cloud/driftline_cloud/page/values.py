"""What the pages show, as values: read by `reading`, drawn by `views`, also given as JSON.

Times are seconds since 1970. Texts may come from devices: nothing here is safe to print as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from driftline_shared.status import WorkerStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What of a list is asked for. `line`, `search`: empty for all."""

    line: str = ""
    search: str = ""
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundFacts:
    """One round with what was measured. `seconds`: from its start to its last change."""

    id: str
    line: str
    number: int
    state: str
    is_open: bool
    num_samples: int
    base_version: int
    target_version: int
    reason: str
    trigger: str
    num_starts: int
    num_errors: int
    created_unix_s: int
    seconds: int
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class LineFacts:
    """One line. `held`: sentences, what keeps it from going on; `driver`: who holds its lease until
    `lease_unix_s`; `by_version`: devices that run each version; `rounds`: newest first;
    `state`: active, paused, dropped.
    """

    line: str
    newest_version: int
    num_samples: int
    num_waiting: int
    num_quarantined: int
    num_devices: int
    num_rounds: int
    by_version: Mapping[int, int]
    held: tuple[str, ...] = ()
    driver: str = ""
    lease_unix_s: int = 0
    progress: float = 0.0
    workers: tuple[WorkerStatus, ...] = ()
    rounds: tuple[RoundFacts, ...] = ()
    state: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFacts:
    """One device. `held`: why it does not run what it is offered, as a sentence; empty: it does."""

    device_id: str
    line: str
    adapter_version: int
    enrolled_unix_s: int
    last_seen_unix_s: int
    last_report: str
    held: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportFacts:
    """How one update ended on a device."""

    version: int
    outcome: str
    reason: str
    detail: str
    received_unix_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceDetail:
    """One device with its last reports, newest first, and its samples."""

    device: DeviceFacts
    reports: tuple[ReportFacts, ...]
    num_samples: int
    num_waiting: int
    num_quarantined: int


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionFacts:
    """One version. `state`, `phase`: of its rollout, empty where it had none: it is everyone's."""

    line: str
    version: int
    round_id: str
    released_unix_s: int
    update_bytes: int
    num_devices: int
    state: str = ""
    phase: str = ""
    share: float = 1.0
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApartFacts:
    """A sample in quarantine."""

    sample_id: str
    line: str
    device_id: str
    round_id: str
    reason: str
    detail: str
    quarantined_unix_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CorrectionFacts:
    """Corrections: how many wait for the teacher and for their devices; the longest waiting ones,
    as (device, samples, asked first). `no_answer`: answers given up, by reason.
    """

    num_waiting: int
    num_answered: int
    oldest_unix_s: int
    devices: tuple[tuple[str, int, int], ...] = ()
    no_answer: Mapping[str, int] = field(default_factory=dict)
