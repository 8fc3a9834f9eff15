"""From what happens on a device to the events of its trace."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from driftline_device.recording.settings import DeviceTraceSettings
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.sampling.decision import Decision, Outcome
from driftline_device.updates.phases import Phase, UpdateState
from driftline_shared.codec.tokens import check_tokens
from driftline_shared.exact_match import is_correct
from driftline_shared.host.clock import Clock
from driftline_shared.tokens import MAX_THUMBNAIL_SIDE, SamplingPolicy, TokenSpace, VisualTokens
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.policies import policy_digest
from driftline_shared.trace.recorder import EventSink
from driftline_shared.trace.tokens import all_fields, coded_fields
from driftline_shared.wire import EncodedSample

_ENDED = frozenset({Phase.ACTIVE, Phase.FAILED, Phase.ROLLED_BACK})

JPEG_QUALITY = 80


class DeviceTrace:
    """Hands events to `sink`; use `answered` from one thread at a time, `updated` from one."""

    def __init__(
        self,
        sink: EventSink,
        *,
        device_id: str,
        space: TokenSpace,
        clock: Clock,
        new_id: Callable[[], bytes],
        settings: DeviceTraceSettings | None = None,
    ) -> None:
        """`new_id`: 16 bytes; the trace id of an answer that is no sample."""
        self._sink = sink
        self._device_id = device_id
        self._space = space
        self._clock = clock
        self._new_id = new_id
        self._settings = settings or DeviceTraceSettings()
        self._pictures_due = 0.0
        self._update: UpdateState | None = None
        self._update_bytes = 0

    def answered(
        self,
        question: Question,
        answer: Answer,
        *,
        segment: str,
        decision: Decision,
        sample: EncodedSample | None,
        policy: SamplingPolicy,
    ) -> None:
        """One answer, and the sample of it that lies in the spool, if any."""
        image = self._picture_of(question) if sample is not None else None
        make = partial(
            self._answer_event,
            question_text=question.text,
            truth=question.truth,
            domain=question.domain or segment,
            answer_text=answer.text,
            scores=dict(answer.scores),
            version=answer.version,
            model_s=answer.model_s,
            segment=segment,
            decision=decision,
            sample=sample,
            policy=policy,
            tokens=answer.tokens if self._settings.all_tokens else None,
            image=image,
            trace_id=(sample.id if sample is not None else self._new_id()).hex(),
            wall_unix_s=self._clock.now_s(),
            monotonic_s=self._clock.monotonic_s(),
        )
        held = len(sample.body) if sample is not None else 0
        held += answer.tokens.values.nbytes if self._settings.all_tokens else 0
        held += image.nbytes if image is not None else 0
        self._sink.record(make, held)

    def updated(self, state: UpdateState, *, digest: Callable[[], str], update_bytes: int) -> None:
        """The state of updates now; an event where an update has ended since the last call.

        `digest`: of the adapter in force. `update_bytes`: of all updates so far.
        """
        before, self._update = self._update, state
        came, self._update_bytes = update_bytes - self._update_bytes, update_bytes
        if before is None or state.phase not in _ENDED or _same(before, state):
            return
        failed = state.phase is Phase.FAILED
        event = TraceEvent(
            kind=EventKind.UPDATE,
            wall_unix_s=self._clock.now_s(),
            monotonic_s=self._clock.monotonic_s(),
            device=self._device_id,
            adapter_version=state.version,
            from_version=before.version,
            verdict=state.outcome,
            reason=str(state.reason),
            detail=f"version {state.target}: {state.detail}" if failed else state.detail or None,
            target_digest=None if failed else digest(),
            update_bytes=came,
        )
        self._sink.record(lambda: event)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all events so far are on disk; whether they are."""
        return self._sink.flush(timeout_s)

    def _picture_of(self, question: Question) -> NDArray[np.uint8] | None:
        """The image of every so many-th sample."""
        self._pictures_due += self._settings.pictures
        if self._pictures_due < 1.0:
            return None
        self._pictures_due -= 1.0
        return question.image

    def _answer_event(
        self,
        *,
        question_text: str,
        truth: str | None,
        domain: str,
        answer_text: str,
        scores: dict[str, float],
        version: int,
        model_s: float,
        segment: str,
        decision: Decision,
        sample: EncodedSample | None,
        policy: SamplingPolicy,
        tokens: VisualTokens | None,
        image: NDArray[np.uint8] | None,
        trace_id: str,
        wall_unix_s: float,
        monotonic_s: float,
    ) -> TraceEvent:
        judged = decision.uncertainty
        event = TraceEvent(
            kind=EventKind.ANSWER,
            wall_unix_s=wall_unix_s,
            monotonic_s=monotonic_s,
            device=self._device_id,
            segment=segment,
            domain=domain,
            sample_id=None if sample is None else sample.id.hex(),
            trace_id=trace_id,
            question=question_text,
            answer=answer_text,
            reference=truth,
            correct=None if truth is None else is_correct(answer_text, truth),
            scores=scores if judged is None else {**scores, judged.kind: judged.score},
            gate_kind=None if judged is None else judged.kind,
            uncertainty=None if judged is None else judged.score,
            p_value=None if judged is None else judged.p_value,
            uncertain=None if judged is None else judged.uncertain,
            audit=decision.audit,
            sent=decision.outcome is Outcome.SENT,
            outcome=str(decision.outcome),
            model_s=model_s,
            adapter_version=version,
            policy_revision=policy.revision,
            policy_digest=policy_digest(policy),
        )
        return _with_tokens(event, sample, tokens, image, self._space, self._settings)


def _with_tokens(
    event: TraceEvent,
    sample: EncodedSample | None,
    tokens: VisualTokens | None,
    image: NDArray[np.uint8] | None,
    space: TokenSpace,
    settings: DeviceTraceSettings,
) -> TraceEvent:
    if sample is not None:
        coded = sample.sample.tokens
        kept = tuple(check_tokens(coded, space).tolist())
        event = replace(event, **coded_fields(coded, kept), sample_bytes=len(sample.body))
    if tokens is not None:
        event = replace(event, **all_fields(tokens, space, settings.all_tokens))
    if image is not None:
        event = replace(event, picture=thumbnail(image))
    return event


def thumbnail(image: NDArray[np.uint8]) -> bytes:
    """JPEG of (H, W, 3) uint8, or of the first of (F, H, W, 3); at most `MAX_THUMBNAIL_SIDE`."""
    from PIL import Image

    first = image if image.ndim == 3 else image[0]
    picture = Image.fromarray(first)
    picture.thumbnail((MAX_THUMBNAIL_SIDE, MAX_THUMBNAIL_SIDE))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=JPEG_QUALITY)
    return data.getvalue()


def _same(before: UpdateState, after: UpdateState) -> bool:
    return (before.phase, before.target, before.version, before.reason) == (
        after.phase,
        after.target,
        after.version,
        after.reason,
    )
