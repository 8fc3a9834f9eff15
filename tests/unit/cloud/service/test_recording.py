"""What a cloud records: each sample with its verdict, each round as it ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from driftline_cloud.service.cloud import Cloud
from driftline_shared.errors import ConfigError
from driftline_shared.status import Enrolment
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.settings import TraceSettings
from driftline_shared.trace.tokens import coded_tokens
from driftline_shared.wire import EncodedSample
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers, make_sample
from tests.fakes.rounds import open_cloud, run_rounds
from tests.fakes.traces import write_trace


def open_recording(folder: Path) -> Cloud:
    cloud = open_cloud(
        folder / "state", ReckoningWorkers(), FakeClock(),
        trace=TraceSettings(folder=folder / "trace", batch_s=0.01),
    )  # fmt: skip
    cloud.devices.enrol(
        Enrolment(
            device_id="d1",
            pair=cloud.line.pair,
            token_space=cloud.line.token_space.digest,
            base_model=cloud.line.base_model,
            adapter_version=0,
        ),
        line=cloud.line.id,
        now_unix_s=1_700_000_000,
    )
    return cloud


def bodies(cloud: Cloud, count: int) -> list[bytes]:
    space = cloud.line.token_space
    return [EncodedSample.of(make_sample(number, space)).body for number in range(count)]


def recorded(folder: Path) -> list[TraceEvent]:
    return list(open_trace(folder / "trace").events())


def test_each_sample_is_an_event_with_its_verdict(tmp_path: Path) -> None:
    cloud = open_recording(tmp_path)
    good, again, bad = *bodies(cloud, 1), bodies(cloud, 1)[0], b"nonsense"
    space = cloud.line.token_space
    cloud.intake.take("d1", space.digest, [good])
    cloud.intake.take("d1", space.digest, [again, bad])
    cloud.intake.take("d1", "another space", [bodies(cloud, 2)[1]])
    cloud.close()
    events = recorded(tmp_path)
    assert [event.verdict for event in events] == ["stored", "duplicate", "refused", "refused"]
    assert {event.kind for event in events} == {EventKind.SAMPLE}
    stored, _, broken, foreign = events
    sample = make_sample(0, space)
    assert stored.sample_id == stored.trace_id == sample.id.hex()
    assert (stored.question, stored.answer) == (sample.question, sample.answer)
    assert coded_tokens(stored) == sample.tokens
    assert stored.sample_bytes == len(good)
    assert (broken.sample_id, broken.sample_bytes) == (None, len(bad))
    assert foreign.reason == "token_space_unknown"
    assert foreign.detail
    assert open_trace(tmp_path / "trace").manifest.subject.recorder == "cloud"


def test_a_round_that_ended_is_an_event(tmp_path: Path) -> None:
    cloud = open_recording(tmp_path)
    cloud.intake.take("d1", cloud.line.token_space.digest, bodies(cloud, 40))
    run_rounds(cloud)
    (ended,) = cloud.ledger.newest(cloud.line.id)
    released = cloud.registry.manifest(cloud.line.id, 1)
    cloud.close()
    *samples, event = recorded(tmp_path)
    assert len(samples) == 40
    assert (event.kind, event.round_id, event.verdict) == (EventKind.ROUND, ended.id, "done")
    assert (event.from_version, event.adapter_version, event.num_samples) == (0, 1, 40)
    assert event.target_digest == released.target_digest.hex()
    assert event.update_bytes == released.blob_bytes
    assert json.loads(event.detail or "") == dict(ended.numbers)


def test_a_device_s_trace_is_not_appended_to(tmp_path: Path) -> None:
    write_trace(tmp_path / "trace", 3)
    with pytest.raises(ConfigError, match="is of pair 'tiny', not 'bare'"):
        open_recording(tmp_path)
