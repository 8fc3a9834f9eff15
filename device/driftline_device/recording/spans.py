"""A device's spans: a sample is made, is sent; an update is applied."""

from __future__ import annotations

from driftline_device.updates.phases import UpdateState
from driftline_shared.host.clock import Clock
from driftline_shared.spans.context import release_context, sample_context
from driftline_shared.spans.spans import Spans
from driftline_shared.status import SampleAck, SampleVerdict, UpdateOutcome
from driftline_shared.wire import EncodedSample


class DeviceSpans:
    """Of the device `device_id` on `line`; each method is for one thread at a time."""

    def __init__(self, spans: Spans, *, device_id: str, line: str, clock: Clock) -> None:
        self._spans = spans
        self._device_id = device_id
        self._line = line
        self._clock = clock
        self._looked_s = clock.now_s()
        self._outcome: tuple[int, str] | None = None

    def sampled(self, sample: EncodedSample, *, began_s: float) -> None:
        """A sample lies in the spool; choosing and coding it began at `began_s` (Unix time)."""
        self._spans.add(
            "sample",
            began_s,
            self._clock.now_s(),
            own=sample_context(sample.id),
            sample=sample.id.hex(),
            device=self._device_id,
            line=self._line,
            version=sample.sample.adapter_version,
            num_tokens=sample.sample.tokens.num_tokens,
            num_bytes=len(sample.body),
        )

    def acked(self, ack: SampleAck, waited_s: float) -> None:
        """The cloud's word on a sample that was sent so long ago."""
        now_s = self._clock.now_s()
        went_well = ack.verdict in (SampleVerdict.STORED, SampleVerdict.DUPLICATE)
        self._spans.add(
            "sample.upload",
            now_s - waited_s,
            now_s,
            parent=sample_context(ack.id),
            error="" if went_well else ack.reason or str(ack.verdict),
            sample=ack.id.hex(),
            device=self._device_id,
            verdict=str(ack.verdict),
        )

    def updated(self, state: UpdateState) -> None:
        """The state of updates before and after each step of them: a span where one ended in it."""
        now_s = self._clock.now_s()
        began_s, self._looked_s = self._looked_s, now_s
        before, self._outcome = self._outcome, (state.target, state.outcome)
        if before is None or before == self._outcome or not state.outcome:
            return
        applied = state.outcome == UpdateOutcome.APPLIED
        self._spans.add(
            "update.apply",
            began_s,
            now_s,
            links=[release_context(self._line, state.target)],
            error="" if applied else str(state.reason),
            device=self._device_id,
            line=self._line,
            version=state.target,
            outcome=state.outcome,
        )
