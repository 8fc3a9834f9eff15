"""Where spans belong, and what OpenTelemetry is handed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from driftline_shared.spans.context import (
    SpanContext,
    release_context,
    round_context,
    sample_context,
)
from driftline_shared.spans.settings import SpanSettings
from driftline_shared.spans.spans import MOST_LINKS, Spans, open_spans


def test_both_sides_reckon_the_same_place_and_no_two_are_alike() -> None:
    places = [
        *(sample_context(bytes([number]) * 16) for number in range(50)),
        *(round_context("line", number // 2, f"r{number}") for number in range(50)),
        *(release_context("line", number) for number in range(50)),
    ]
    assert len({one.span_id for one in places}) == len(places)
    assert round_context("line", 3, "r7").trace_id == release_context("line", 3).trace_id
    assert release_context("line", 3).trace_id != release_context("other", 3).trace_id
    # Old devices and new clouds meet: what is reckoned never changes.
    assert sample_context(b"\x07" * 16) == SpanContext(
        0xECC468F2013071FB542EB53E8F71336, 0xDF5289F660825342
    )


@pytest.fixture
def made() -> tuple[Spans, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return Spans(SimpleSpanProcessor(exporter), "driftline-test"), exporter


def test_a_span_has_the_place_the_time_and_the_words_that_were_given(made) -> None:
    spans, exporter = made
    own, parent = SpanContext(7, 8), SpanContext(9, 10)
    spans.add("root", 1.5, 2.0, own=own, sample="ab", num=3)
    spans.add("child", 2.0, 1.0, parent=parent, links=[own], error="it failed")
    spans.add("other", 1.0, 1.0)
    root, child, other = exporter.get_finished_spans()
    assert (root.context.trace_id, root.context.span_id, root.parent) == (7, 8, None)
    assert (root.start_time, root.end_time) == (1_500_000_000, 2_000_000_000)
    assert dict(root.attributes) == {"driftline.sample": "ab", "driftline.num": 3}
    assert root.resource.attributes["service.name"] == "driftline-test"
    assert child.context.trace_id == 9 and child.parent.span_id == 10
    assert child.end_time == child.start_time  # a clock that was set back gives no negative time
    assert [one.context.span_id for one in child.links] == [8]
    assert not child.status.is_ok and child.status.description == "it failed"
    assert len({root.context.span_id, child.context.span_id, other.context.span_id}) == 3


def test_a_round_of_many_samples_keeps_its_links(made) -> None:
    spans, exporter = made
    links = [sample_context(number.to_bytes(16, "big")) for number in range(MOST_LINKS)]
    spans.add("round", 0.0, 1.0, links=links)
    (round_,) = exporter.get_finished_spans()
    assert len(round_.links) == MOST_LINKS


def test_a_span_that_cannot_be_made_raises_nothing(made) -> None:
    spans, exporter = made
    spans.add("root", float("nan"), 1.0)
    spans.add("after", 0.0, 1.0)
    assert [one.name for one in exporter.get_finished_spans()] == ["after"]
    spans.close()


def test_off_costs_no_import() -> None:
    assert open_spans(SpanSettings(), "driftline-test") is None
    code = (
        "import sys; from driftline_shared.spans.spans import open_spans;"
        "from driftline_shared.spans.settings import SpanSettings;"
        "open_spans(SpanSettings(), 'x');"
        "import driftline_device.program.assembly, driftline_cloud.service.spans;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_collector_that_is_away_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    spans = open_spans(SpanSettings(enabled=True, endpoint="http://127.0.0.1:1"), "driftline-test")
    assert spans is not None
    spans.add("root", 0.0, 1.0)
    spans.close()
