"""What a replay needs of the cloud's side, wherever it runs: what a device asks, one step of the
rounds, and what came of it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from driftline_cloud.service.assembly import WholeCloud
from driftline_shared.status import Enrolment, SampleAck, UpdateQuery, UpdateReport, Welcome
from driftline_shared.update import Manifest
from driftline_shared.wire import to_acks

MOST_ROUNDS = 100_000
"""More rounds than that are not listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepDone:
    """What one step of the rounds did. `busy`: it did something, so that another may follow.

    The rest is of the round that is open now: `state` is empty without one. `reason` is its
    trigger, as long as nothing went wrong. `not_before_unix_s`: it rests until then.
    `num_waiting`, `oldest_unix_s`: of the samples that no round has, where nothing was done.
    """

    busy: bool
    number: int = 0
    state: str = ""
    num_samples: int = 0
    reason: str = ""
    not_before_unix_s: float = 0.0
    num_waiting: int = 0
    oldest_unix_s: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedRound:
    """A round that is over (or open still, at the end)."""

    number: int
    state: str
    num_samples: int
    reason: str
    target_version: int
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudSummary:
    """What the cloud holds at the end. `hits`: of the cache, by name."""

    num_samples: int
    num_waiting: int
    newest_version: int
    rounds: tuple[ClosedRound, ...]
    hits: dict[str, int] = field(default_factory=dict)


class CloudSide(Protocol):
    """A cloud under the clock of the replay; one call at a time."""

    def enrol(self, enrolment: Enrolment) -> Welcome:
        """Know a device; `LinkError` if it is of another pair."""

    def push(self, device_id: str, token_space: str, bodies: Sequence[bytes]) -> list[SampleAck]:
        """One batch of serialised samples up, and the word on each."""

    def check(self, query: UpdateQuery) -> Manifest | None:
        """Something newer for a device, or None."""

    def fetch(self, device_id: str, manifest: Manifest) -> bytes:
        """The blob that `manifest` names."""

    def report(self, device_id: str, report: UpdateReport) -> None:
        """How an update ended on a device."""

    def step(self) -> StepDone:
        """One step of the rounds: the next thing there is to do, if any."""

    def summary(self) -> CloudSummary:
        """What it holds now."""

    def close(self) -> None:
        """End it; its state stays in its folder."""


def step(cloud: WholeCloud) -> StepDone:
    """One step of the rounds of `cloud`."""
    busy = cloud.coordinator.step()
    round_ = cloud.ledger.open_round(cloud.line.id)
    if round_ is None:
        if busy:
            return StepDone(busy=True)
        counts = cloud.store.counts(cloud.line.id)
        return StepDone(
            busy=False,
            num_waiting=counts.num_waiting,
            oldest_unix_s=counts.oldest_waiting_unix_s,
        )
    return StepDone(
        busy=busy,
        number=round_.number,
        state=str(round_.state),
        num_samples=round_.num_samples,
        reason=round_.reason,
        not_before_unix_s=round_.not_before_unix_s,
    )


def summary(cloud: WholeCloud, hits: dict[str, int]) -> CloudSummary:
    """What `cloud` holds now."""
    counts = cloud.store.counts(cloud.line.id)
    rounds = cloud.ledger.newest(cloud.line.id, limit=MOST_ROUNDS)
    return CloudSummary(
        num_samples=counts.num_samples,
        num_waiting=counts.num_waiting,
        newest_version=cloud.registry.newest_version(cloud.line.id),
        rounds=tuple(
            ClosedRound(
                number=each.number,
                state=str(each.state),
                num_samples=each.num_samples,
                reason=each.reason,
                target_version=each.target_version,
                numbers=dict(each.numbers),
            )
            for each in reversed(rounds)
        ),
        hits=hits,
    )


def ack_bytes(acks: Sequence[SampleAck]) -> int:
    """Bytes of the message that carries `acks`."""
    return int(to_acks(acks).ByteSize())
