"""One trace from a sample to the version that it led to: a real link, a real cloud, on loopback."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from driftline_device.link.link import Link
from driftline_device.link.settings import LinkSettings
from driftline_device.recording.spans import DeviceSpans
from driftline_device.spool.sqlite import SqliteSpool
from driftline_device.updates.phases import Phase, UpdateState
from driftline_shared.host.clock import SystemClock
from driftline_shared.spans.context import sample_context
from driftline_shared.spans.spans import Spans
from driftline_shared.update_apply import apply_update
from driftline_shared.wire import EncodedSample
from tests.fakes.cloud import make_sample, start_adapter

from .conftest import RunningCloud

pytestmark = pytest.mark.integration

TIMEOUT_S = 60.0


def _wait(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not done():
        assert time.monotonic() < deadline_s, "it did not get there"
        time.sleep(0.02)


def _named(spans: list[ReadableSpan]) -> dict[str, list[ReadableSpan]]:
    found = defaultdict(list)
    for span in spans:
        found[span.name].append(span)
    return found


def test_a_sample_is_followed_to_the_update_that_a_device_applies(
    start_cloud: Callable[..., RunningCloud], tmp_path: Path
) -> None:
    at_cloud, at_device = InMemorySpanExporter(), InMemorySpanExporter()
    cloud = start_cloud(
        spans=lambda _config: Spans(SimpleSpanProcessor(at_cloud), "driftline-cloud"),
        **{"rounds.trigger.round_samples": 40, "dwc.max_fp16_share": 0.5},
    )
    line = cloud.line().line
    clock = SystemClock()
    told = DeviceSpans(
        Spans(SimpleSpanProcessor(at_device), "driftline-device"),
        device_id="d1",
        line=line,
        clock=clock,
    )
    spool = SqliteSpool(tmp_path / "spool.sqlite", max_bytes=1 << 24, max_samples=1_000)
    link = Link(
        LinkSettings(address=f"127.0.0.1:{cloud.port}", poll_s=0.02),
        cloud.enrolment,
        spool,
        folder=tmp_path / "link",
        watch_acks=told.acked,
        rng=random.Random(1),
    )
    samples = [make_sample(number, cloud.pair.token_space) for number in range(40)]
    try:
        link.start()
        for sample in samples:
            encoded = EncodedSample.of(sample)
            spool.append(encoded)
            told.sampled(encoded, began_s=clock.now_s())
        _wait(lambda: cloud.line().newest_version == 1)
        told.updated(UpdateState())
        manifest = link.check(adapter_version=0, failed_versions=())
        assert manifest is not None
        apply_update(start_adapter(), manifest, link.fetch(manifest))
        told.updated(UpdateState(phase=Phase.ACTIVE, version=1, target=1))
        told.updated(UpdateState(phase=Phase.ACTIVE, version=1, target=1))
        _wait(lambda: len(_named(list(at_cloud.get_finished_spans()))["sample.used"]) == 40)
    finally:
        link.stop()
        spool.close()
    device = _named(list(at_device.get_finished_spans()))
    here = _named(list(at_cloud.get_finished_spans()))

    # The sample's trace: made and sent by the device, taken in and used by the cloud.
    sample = sample_context(samples[7].id)
    (root,) = [one for one in device["sample"] if one.context.trace_id == sample.trace_id]
    assert root.context.span_id == sample.span_id and root.parent is None
    (used,) = [one for one in here["sample.used"] if one.context.trace_id == sample.trace_id]
    for name, spans in (("sample.upload", device), ("sample.intake", here)):
        (one,) = [each for each in spans[name] if each.context.trace_id == sample.trace_id]
        assert one.parent is not None and one.parent.span_id == sample.span_id
        assert one.attributes["driftline.verdict"] == "stored" and one.status.is_unset

    # From there to the round, and back to its samples.
    (round_,) = here["round"]
    (to_round,) = used.links
    assert to_round.context.span_id == round_.context.span_id
    assert to_round.context.trace_id == round_.context.trace_id
    assert {one.context.span_id for one in round_.links} == {
        sample_context(one.id).span_id for one in samples
    }
    states = ("snapshot", "labelling", "distilling", "gating", "compressing", "releasing")
    for state in states:
        (one,) = here[f"round.{state}"]
        assert one.context.trace_id == round_.context.trace_id
        assert one.parent is not None and one.parent.span_id == round_.context.span_id

    # And on to the device that applied what was released.
    (applied,) = device["update.apply"]
    (to_release,) = applied.links
    (release,) = here["round.releasing"]
    assert to_release.context.span_id == release.context.span_id
    assert to_release.context.trace_id == release.context.trace_id
    assert applied.attributes["driftline.outcome"] == "applied"

    # No words of a picture's question or answer are told.
    all_spans = (*at_device.get_finished_spans(), *at_cloud.get_finished_spans())
    said = " ".join(str(dict(one.attributes)) for one in all_spans)
    assert samples[7].question not in said and samples[7].answer not in said
