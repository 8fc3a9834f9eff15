"""The device of a replay: recorded questions in, real sampling, spool and updates behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from driftline_device.runtime.runtime import Answer, Runtime
from driftline_device.sampling.sampler import Sampler
from driftline_device.spool.spool import Spool
from driftline_device.updates.applier import Applier
from driftline_device.updates.watch import uncertainty
from driftline_lab.replay.clock import VirtualClock
from driftline_lab.replay.device.runtime import question_about
from driftline_lab.replay.device.updates import VirtualDownlink
from driftline_lab.replay.device.uplink import UplinkCounts, VirtualUplink
from driftline_lab.replay.records import Recorded
from driftline_shared.errors import DataError, LinkError
from driftline_shared.wire import EncodedSample

POLL_RANK = 3
"""At one moment all else happens before a device asks for updates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """An answer as the replay has it. `num_bytes`: of its sample, 0 if none was sent."""

    text: str
    version: int
    uncertainty: float | None
    sent: bool
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class InForce:
    """An update that came into force. `at`: answers given before; `at_s`: when."""

    version: int
    digest: str
    num_bytes: int
    at: int
    at_s: float


@dataclass(kw_only=True)
class DeviceParts:
    """What one device is put together from. `sampler`: None: samples go up as they were recorded.
    `recompute`: answers are made anew under the version in force.
    """

    device_id: str
    runtime: Runtime
    sampler: Sampler | None
    spool: Spool
    applier: Applier
    uplink: VirtualUplink
    downlink: VirtualDownlink
    recompute: bool
    poll_s: float


class ReplayDevice:
    """One device on `clock`. `num_answers`: how many answers the replay has seen, now."""

    def __init__(
        self, parts: DeviceParts, clock: VirtualClock, *, num_answers: Callable[[], int]
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._num_answers = num_answers
        self._polling = False
        self._version = 0
        self.fruitless_s = -1.0
        """When the last poll began that brought nothing new; what the cloud did before is here."""
        self.in_force: list[InForce] = []

    def start(self) -> None:
        """Load what is in force and begin to ask for updates."""
        self._parts.applier.recover()
        self._clock.after(self._parts.poll_s, self._poll, rank=POLL_RANK)

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is under way."""
        waits = self._polling or self._parts.applier.state.reports
        return not waits and self._parts.uplink.is_idle

    @property
    def uplink_counts(self) -> UplinkCounts:
        """What went up."""
        return self._parts.uplink.counts

    @property
    def num_evicted(self) -> int:
        """Samples that the spool had no room for."""
        return self._parts.spool.stats().num_evicted

    def close(self) -> None:
        """Let its files go."""
        self._parts.spool.close()

    def take(self, record: Recorded) -> Given:
        """Answer what was asked then, and sample it."""
        answer = self._answer(record)
        sample = self._sample(record, answer)
        sent = sample is not None and self._parts.spool.append(sample)
        if sent:
            self._parts.uplink.wake()
        score = None
        if answer is not None:
            score = uncertainty(answer)
        elif record.uncertainty is not None or record.scores:
            score = record.scores.get("entropy", record.uncertainty)
        return Given(
            text=record.answer if answer is None else answer.text,
            version=record.version if answer is None else answer.version,
            uncertainty=score,
            sent=sent,
            num_bytes=len(sample.body) if sent and sample is not None else 0,
        )

    def _answer(self, record: Recorded) -> Answer | None:
        """The answer; None where nothing needs more of it than is recorded."""
        if self._parts.sampler is None and not self._parts.recompute:
            return None
        if record.tokens is None:
            raise DataError(
                f"the answer at {record.at_s:.3f} s was recorded without all its tokens: record "
                "with them, or replay without --policy and --answers recompute"
            )
        if not self._parts.recompute:
            return Answer(
                text=record.answer,
                tokens=record.tokens,
                scores=dict(record.scores),
                num_steps=1,
                version=record.version,
            )
        question = question_about(record.tokens, record.question, domain=record.domain)
        answer = self._parts.runtime.answer([question])[0]
        # What the tower gave is what may be sent; the model read nothing else.
        answer = replace(answer, tokens=record.tokens)
        self._parts.applier.answered(question, answer)
        self._act()
        return answer

    def _sample(self, record: Recorded, answer: Answer | None) -> EncodedSample | None:
        if self._parts.sampler is None or answer is None:
            return record.sample
        return self._parts.sampler.consider(record.question, answer, self._parts.runtime)

    def _act(self) -> None:
        """What the watch asked for, by the thread of updates: not while it is at an update."""
        if not self._polling and self._parts.applier.wake.is_set():
            self._parts.applier.act()

    def _poll(self) -> None:
        self._polling, offered = True, False
        begun_s = self._clock.monotonic_s()
        applier = self._parts.applier
        try:
            applier.act()
            offered = applier.poll(self._parts.downlink)
            if not offered:
                self.fruitless_s = begun_s
        except LinkError:
            pass  # as the device does: asked again later
        finally:
            self._polling = False
        self._note_version()
        self._act()
        self._clock.after(0.0 if offered else self._parts.poll_s, self._poll, rank=POLL_RANK)

    def _note_version(self) -> None:
        version = self._parts.applier.state.version
        if version != self._version and version > 0:
            found = self._parts.downlink.seen[version]
            self.in_force.append(
                InForce(
                    version=version,
                    digest=found.digest,
                    num_bytes=found.num_bytes,
                    at=self._num_answers(),
                    at_s=self._clock.monotonic_s(),
                )
            )
        self._version = version
