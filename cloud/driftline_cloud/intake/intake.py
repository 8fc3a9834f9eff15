"""The intake: from one batch of a device to one ack per sample, in the order they came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from driftline_cloud.intake import admission
from driftline_cloud.intake.admission import AdmissionLimits, Quota
from driftline_cloud.intake.devices import Device, DeviceRegister
from driftline_cloud.intake.line import Line
from driftline_cloud.intake.store import SampleStore
from driftline_shared.callbacks import ignore
from driftline_shared.errors import DriftlineError, LinkError, Reason, SampleError
from driftline_shared.host.clock import Clock
from driftline_shared.pair.text_room import TextRoom
from driftline_shared.status import SampleAck
from driftline_shared.wire import EncodedSample, sample_id

SampleWatch = Callable[[str, bytes, EncodedSample | None, SampleAck], None]
"""Called with the device's id, the bytes that came, the sample if they were one, and its ack."""


class AskTeacher(Protocol):
    """See `CorrectionStore.ask`."""

    def __call__(
        self, device_id: str, ids: Sequence[bytes], *, now_unix_s: int
    ) -> Mapping[bytes, Reason | None]:
        """Why none of the answers that are wanted will follow; None: it will."""


_log = structlog.get_logger(__name__)


class Intake:
    """Takes batches; blocking, called from a thread. What is wrong with a sample stays its own.

    `images_may_leave`: of the policy in force; without it regions are neither read nor kept.
    """

    def __init__(
        self,
        *,
        line: Line,
        devices: DeviceRegister,
        store: SampleStore,
        quota: Quota,
        gate_score: str,
        clock: Clock,
        rooms: Sequence[TextRoom] = (),
        limits: AdmissionLimits | None = None,
        images_may_leave: bool = False,
        watch: SampleWatch = ignore,
        ask: AskTeacher | None = None,
    ) -> None:
        """`watch` is called with every sample and the word it got; it must raise nothing. `ask` is
        called for stored samples that want the teacher's answer; without it none will follow.
        """
        self._line = line
        self._devices = devices
        self._store = store
        self._quota = quota
        self._gate_score = gate_score
        self._clock = clock
        self._rooms, self._limits = rooms, limits or AdmissionLimits()
        self._images_may_leave = images_may_leave
        self._watch = watch
        self._ask = ask

    def take(self, device_id: str, token_space: str, bodies: Sequence[bytes]) -> list[SampleAck]:
        """One ack per serialised sample, in order.

        `LinkError` (unknown_device) if the device never enrolled.
        """
        device = self._devices.find(device_id)
        if device is None:
            raise LinkError(f"device {device_id} is not enrolled", reason=Reason.UNKNOWN_DEVICE)
        checked = [self._check(token_space, body) for body in bodies]
        good = [one for one in checked if isinstance(one, EncodedSample)]
        verdicts = self._add(device, good)
        stored = [one for one in good if isinstance(verdicts[one.id], bool)]
        wanting = self._wish(device_id, [one.id for one in stored if one.sample.wants_answer])
        acks: list[SampleAck] = []
        told: set[bytes] = set()
        for body, found in zip(bodies, checked, strict=True):
            one = found.id if isinstance(found, EncodedSample) else sample_id(body)
            verdict = verdicts[one] if isinstance(found, EncodedSample) else found
            if isinstance(verdict, DriftlineError):
                acks.append(admission.turned_down(one, verdict))
            else:
                is_new = verdict and one not in told
                told.add(one)
                acks.append(admission.stored(one) if is_new else admission.duplicate(one))
            if one in wanting and isinstance(verdict, bool):
                why = wanting[one]
                acks[-1] = replace(acks[-1], answer_follows=why is None, no_answer=str(why or ""))
            sample = found if isinstance(found, EncodedSample) else None
            self._watch(device_id, body, sample, acks[-1])
        return acks

    def _wish(self, device_id: str, ids: Sequence[bytes]) -> Mapping[bytes, Reason | None]:
        """Ask for the teacher's answers; what goes wrong there costs the answer, not the sample."""
        if not ids or self._ask is None:
            return dict.fromkeys(ids, Reason.ANSWERS_OFF)
        try:
            return self._ask(device_id, ids, now_unix_s=int(self._clock.now_s()))
        except Exception:
            _log.exception("answers.not_asked", device=device_id)
            return dict.fromkeys(ids, Reason.STORE_BUSY)

    def _check(self, token_space: str, body: bytes) -> EncodedSample | DriftlineError:
        """The sample with the bytes it came in, or why it is not taken."""
        try:
            sample = EncodedSample.read(body)
            if not self._images_may_leave:
                # A device may send what it took under an earlier policy: the tokens are welcome.
                sample = sample.without_regions()
            admission.check_token_space(token_space, self._line.token_space)
            admission.check_texts(sample.sample, self._rooms, self._limits)
            admission.check_content(sample.sample, self._line.token_space)
        except DriftlineError as error:
            return error
        except Exception:
            # A fault of ours in one sample must not cost the others of its batch.
            _log.exception("sample.check_failed", sample=sample_id(body).hex())
            return SampleError("the sample could not be checked", reason=Reason.INTERNAL)
        return sample

    def _add(
        self, device: Device, good: Sequence[EncodedSample]
    ) -> dict[bytes, SampleError | bool]:
        if not good:
            return {}
        try:
            return self._store.add(
                good,
                device_id=device.device_id,
                line=device.line,
                token_space=device.token_space,
                gate_score=self._gate_score,
                quota=self._quota,
                now_unix_s=int(self._clock.now_s()),
            )
        except SampleError as error:
            return {sample.id: error for sample in good}
