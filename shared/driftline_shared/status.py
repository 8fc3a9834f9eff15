"""What the two sides tell each other about themselves: enrolment, acks, reports, states."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from driftline_shared.signing.bundle import SignedState
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.update import TENSORS_FORMAT

PROTOCOL = 1
"""Major version of the protocol; both sides must hold the same one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolment:
    """How a device introduces itself. `token_space` and `base_model` are hex digests."""

    device_id: str
    pair: str
    token_space: str
    base_model: str
    adapter_version: int
    protocol: int = PROTOCOL


@dataclass(frozen=True, kw_only=True, slots=True)
class Welcome:
    """What the cloud answers to an enrolment."""

    cloud_id: str
    policy: SamplingPolicy
    newest_version: int


class SampleVerdict(StrEnum):
    """What became of one sample in the cloud."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    RETRY = "retry"


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleAck:
    """The cloud's word on one sample: `reason` is the code of a `Reason`, or one unknown here.

    Of a sample that wants the teacher's answer: `answer_follows`, or `no_answer`, the code that
    says why none will. An older cloud says neither.
    """

    id: bytes
    verdict: SampleVerdict
    reason: str = ""
    detail: str = ""
    answer_follows: bool = False
    no_answer: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """The teacher's answer to the sample `id`, which wanted it.

    `confidence`: geometric mean of the probabilities of its tokens, 0..1. `teacher`: digest of all
    that the answer depends on. `no_answer`: the code that says why there is none, after all.
    """

    id: bytes
    answer: str = ""
    confidence: float = 0.0
    teacher: str = ""
    answered_unix_s: int = 0
    no_answer: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateQuery:
    """A device asks for something newer than what it runs, without what failed on it.

    `manifest_format`: the highest that it reads. `signed`: what it holds of the signed metadata;
    None: it asks for no signatures.
    """

    device_id: str
    base_model: str
    adapter_version: int
    failed_versions: tuple[int, ...] = ()
    manifest_format: int = TENSORS_FORMAT
    signed: SignedState | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobRequest:
    """A device asks for the bytes named by the sha256 `digest`, from `offset` on."""

    device_id: str
    digest: bytes
    offset: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Bytes of a blob that begin at `offset`."""

    offset: int
    data: bytes


class UpdateOutcome(StrEnum):
    """How an update ended on a device."""

    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateReport:
    """How the update to `version` ended on a device; `reason` is a stable code."""

    version: int
    outcome: UpdateOutcome
    reason: str = ""
    detail: str = ""
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceStatus:
    """A device as the cloud last saw it."""

    device_id: str
    adapter_version: int
    last_seen_unix_s: int
    last_report: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundStatus:
    """A round; `progress` is of the present state, 0..1."""

    round_id: str
    state: str
    num_samples: int
    target_version: int
    reason: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    progress: float = 0.0


ACTIVE_LINE, PAUSED_LINE, DROPPED_LINE = "active", "paused", "dropped"
"""States of a line: its rounds go on; they do not; its devices are turned away."""

CLOSED_ROUNDS = frozenset({"done", "rejected", "failed"})
"""States of a round after which nothing of it is to come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerStatus:
    """A process that drives rounds, or waits to, as it last said; `progress` of its work, 0..1."""

    owner: str
    state: str
    reason: str = ""
    progress: float = 0.0
    last_seen_unix_s: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutStatus:
    """How far a version has got: `phase` of `num_phases`, from 1, that may reach `share` of the
    line's devices, 0..1, which are `num_devices`; of those that reported, `num_bad` did not keep
    it. `reason`: why it is so, or what it waits for.
    """

    version: int
    state: str
    phase: int = 1
    num_phases: int = 1
    share: float = 1.0
    num_devices: int = 0
    num_reported: int = 0
    num_bad: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicePage:
    """Which devices of a line a status shows: at most `num_devices`, without the first `offset`."""

    num_devices: int = 1_000
    offset: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LineStatus:
    """One adapter line. `num_waiting`: samples that no round has used; `round`: the newest;
    `devices`: a page of them, what is stuck first, of `num_devices` in all; `num_quarantined`:
    samples that no round can work on; `state`: see `ACTIVE_LINE`; of a dropped one its
    devices and its round are left out; `pair`: as the operator named it;
    `rollout`: of the newest version that has one.
    """

    line: str
    newest_version: int
    num_samples: int
    num_waiting: int
    num_rounds: int
    round: RoundStatus | None = None
    devices: tuple[DeviceStatus, ...] = ()
    workers: tuple[WorkerStatus, ...] = ()
    num_devices: int = 0
    num_quarantined: int = 0
    state: str = ""
    pair: str = ""
    rollout: RolloutStatus | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownBase:
    """A base model that no line of the cloud has, and how many devices came with it. `pair`: as the
    last of them called it.
    """

    base_model: str
    pair: str
    num_devices: int
    last_seen_unix_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudStatus:
    """What an operator sees of a cloud."""

    cloud_id: str
    version: str
    lines: tuple[LineStatus, ...] = ()
    unknown_bases: tuple[UnknownBase, ...] = ()
    troubles: tuple[str, ...] = ()
