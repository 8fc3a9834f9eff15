"""The trace of a cloud: each sample with the word it got, each round as it ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from driftline_cloud.intake.line import Line
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rounds.round import Round, RoundState
from driftline_shared.codec.tokens import check_tokens
from driftline_shared.errors import DriftlineError
from driftline_shared.host.clock import Clock
from driftline_shared.status import SampleAck
from driftline_shared.tokens import SamplingPolicy, TokenSpace
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.manifest import Subject
from driftline_shared.trace.policies import policy_digest
from driftline_shared.trace.recorder import EventSink, open_recorder
from driftline_shared.trace.settings import TraceSettings
from driftline_shared.trace.tokens import coded_fields
from driftline_shared.wire import EncodedSample


class CloudTrace:
    """Hands events to `sink`, from any thread; raises nothing. `close` ends the recording."""

    def __init__(
        self,
        sink: EventSink,
        *,
        space: TokenSpace,
        policy: SamplingPolicy,
        registry: ReleaseRegistry,
        clock: Clock,
        close: Callable[[], None],
    ) -> None:
        self._sink = sink
        self._space = space
        self._policy = policy
        self._registry = registry
        self._clock = clock
        self.close = close

    def sample(
        self, device_id: str, body: bytes, sample: EncodedSample | None, ack: SampleAck
    ) -> None:
        """One sample of `body` bytes on the wire; `sample` None where it was not even read."""
        make = partial(
            self._sample_event,
            device_id=device_id,
            num_bytes=len(body),
            sample=sample,
            ack=ack,
            wall_unix_s=self._clock.now_s(),
            monotonic_s=self._clock.monotonic_s(),
        )
        self._sink.record(make, 0 if sample is None else len(sample.body))

    def round_step(self, event: str, round_: Round) -> None:
        """A coordinator's `Watch`: a round that has ended is an event."""
        if event != "changed" or round_.is_open:
            return
        wall_unix_s, monotonic_s = self._clock.now_s(), self._clock.monotonic_s()
        self._sink.record(lambda: self._round_event(round_, wall_unix_s, monotonic_s))

    def _sample_event(
        self,
        *,
        device_id: str,
        num_bytes: int,
        sample: EncodedSample | None,
        ack: SampleAck,
        wall_unix_s: float,
        monotonic_s: float,
    ) -> TraceEvent:
        name = ack.id.hex() or None
        given = {} if sample is None else _fields(sample, self._space)
        return TraceEvent(
            kind=EventKind.SAMPLE,
            wall_unix_s=wall_unix_s,
            monotonic_s=monotonic_s,
            device=device_id,
            sample_id=name,
            trace_id=name,
            sample_bytes=num_bytes,
            policy_revision=self._policy.revision,
            policy_digest=policy_digest(self._policy),
            verdict=str(ack.verdict),
            reason=ack.reason or None,
            detail=ack.detail or None,
            **given,  # type: ignore[arg-type]
        )

    def _round_event(self, round_: Round, wall_unix_s: float, monotonic_s: float) -> TraceEvent:
        digest: str | None = None
        num_bytes: int | None = None
        if round_.state is RoundState.DONE:
            manifest = self._registry.manifest(round_.line, round_.target_version)
            digest, num_bytes = manifest.target_digest.hex(), manifest.blob_bytes
        return TraceEvent(
            kind=EventKind.ROUND,
            wall_unix_s=wall_unix_s,
            monotonic_s=monotonic_s,
            round_id=round_.id,
            verdict=str(round_.state),
            reason=round_.reason or None,
            detail=json.dumps(dict(round_.numbers), sort_keys=True),
            num_samples=round_.num_samples,
            from_version=round_.base_version,
            adapter_version=round_.target_version if digest else round_.base_version,
            target_digest=digest,
            update_bytes=num_bytes,
        )


def open_cloud_trace(
    settings: TraceSettings,
    line: Line,
    *,
    seed: int,
    policy: SamplingPolicy,
    registry: ReleaseRegistry,
    clock: Clock,
) -> CloudTrace | None:
    """The trace that `settings` ask for; None where they ask for none. Raises ConfigError."""
    if settings.folder is None:
        return None
    subject = Subject(
        pair=line.pair,
        base_model=line.base_model,
        token_space=line.token_space.digest,
        token_width=line.token_space.width,
        recorder="cloud",
    )
    with ExitStack() as stack:
        sink = stack.enter_context(open_recorder(settings, subject, clock=clock, seed=seed))
        return CloudTrace(
            sink,
            space=line.token_space,
            policy=policy,
            registry=registry,
            clock=clock,
            close=stack.pop_all().close,
        )


def _fields(encoded: EncodedSample, space: TokenSpace) -> dict[str, object]:
    """What a sample says of itself; its tokens where they are whole tokens of `space`."""
    sample = encoded.sample
    said: dict[str, object] = {
        "question": sample.question,
        "answer": sample.answer,
        "scores": dict(sample.scores),
        "audit": sample.audit,
        "adapter_version": sample.adapter_version,
    }
    try:
        kept = tuple(check_tokens(sample.tokens, space).tolist())
    except DriftlineError:
        return said
    return said | coded_fields(sample.tokens, kept)
