"""What a device records of its answers and updates."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from driftline_device.config import load_config
from driftline_device.program.assembly import open_daemon
from driftline_device.program.service import stream
from driftline_device.recording.events import DeviceTrace, thumbnail
from driftline_device.sources.table import open_source
from driftline_device.updates.phases import Phase, UpdateState
from driftline_shared.codec.tokens import decode_tokens
from driftline_shared.errors import ConfigError, Reason
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.recorder import MakeEvent
from driftline_shared.trace.tokens import all_tokens, coded_tokens
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import FakeRuntime, token_space, write_dataset, write_pair
from tests.fakes.runtime import stream as questions

EAGER: dict[str, object] = {
    "seed": 1,
    "sampling.gate_quantile": 0.5,
    "sampling.max_sample_share": 1.0,
    "sampling.audit_rate": 0.0,
    "sampling.token_scorer": "magnitude",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(write_pair(tmp_path_factory.mktemp("pair")))


def run(
    folder: Path, pair: Pair, *, source: str = "camera:0", **settings: object
) -> dict[str, int]:
    """A device that answers six hard and four easy questions; what became of them."""
    hard = write_dataset(folder / "hard", questions(6, hard=True), name="hard.jsonl")
    easy = write_dataset(folder / "easy", questions(4, hard=False), name="easy.jsonl")
    values = {**EAGER, "state": str(folder / "state"), **settings}
    config = load_config(None, values, {})
    with open_daemon(config, pair, FakeRuntime(), source=source) as daemon:
        sources = [open_source(hard), open_source(easy)]
        stream(daemon, sources, settle_s=0.0, drain_s=0.0, hold=False)
        return daemon.snapshot().sampling


def recorded(folder: Path) -> list[TraceEvent]:
    return list(open_trace(folder).events())


def test_every_answer_is_an_event(tmp_path: Path, pair: Pair) -> None:
    counts = run(tmp_path, pair, **{"trace.folder": str(tmp_path / "trace")})
    events = recorded(tmp_path / "trace")
    assert [event.segment for event in events] == ["hard"] * 6 + ["easy"] * 4
    assert {event.kind for event in events} == {EventKind.ANSWER}
    assert [event.sent for event in events] == [True] * 6 + [False] * 4
    assert counts["sent"] == 6
    sent, kept_back = events[0], events[-1]
    assert (sent.outcome, kept_back.outcome) == ("sent", "confident")
    assert sent.trace_id == sent.sample_id
    assert kept_back.sample_id is None
    assert len({event.trace_id for event in events}) == 10
    assert all(event.correct == (event.answer == event.reference) for event in events)
    assert (sent.gate_kind, sent.uncertain) == ("entropy", True)
    assert sent.scores["entropy"] == sent.uncertainty
    coded = coded_tokens(sent)
    assert coded is not None
    positions = decode_tokens(coded, pair.token_space).positions
    assert sent.kept == tuple(positions.tolist())
    assert (sent.sample_bytes or 0) > len(coded.payload)
    assert kept_back.coded is None
    assert all(event.all_tokens is None and event.picture is None for event in events)


def test_all_tokens_are_recorded_where_asked_for(tmp_path: Path, pair: Pair) -> None:
    trace = tmp_path / "trace"
    run(tmp_path, pair, **{"trace.folder": str(trace), "trace.all_tokens": "fp16"})
    for event in recorded(trace):
        tokens = all_tokens(event, pair.token_space)
        assert tokens is not None
        assert tokens.num_tokens == pair.token_space.grid.num_tokens
        assert np.isfinite(tokens.values).all()


def test_pictures_are_recorded_only_where_the_owner_lets_them(tmp_path: Path, pair: Pair) -> None:
    asked: dict[str, object] = {"trace.folder": str(tmp_path / "trace"), "trace.pictures": 0.5}
    with pytest.raises(ConfigError, match="pictures_may_be_kept"):
        run(tmp_path, pair, **asked)
    run(tmp_path, pair, **asked, **{"trace.pictures_may_be_kept": True})
    pictures = [event.picture for event in recorded(tmp_path / "trace")]
    assert [number for number, data in enumerate(pictures) if data is not None] == [1, 3, 5]


def test_a_second_run_appends_and_another_camera_is_refused(tmp_path: Path, pair: Pair) -> None:
    trace = tmp_path / "trace"
    for _ in range(2):
        run(tmp_path, pair, **{"trace.folder": str(trace)})
    assert [event.sequence for event in recorded(trace)] == list(range(20))
    with pytest.raises(ConfigError, match="camera:1"):
        run(tmp_path, pair, source="camera:1", **{"trace.folder": str(trace)})


def test_a_paused_device_says_why_nothing_was_sent(tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "paused.json").write_text("{}")
    run(tmp_path, pair, **{"trace.folder": str(tmp_path / "trace")})
    assert {event.outcome for event in recorded(tmp_path / "trace")} == {"paused"}


def test_a_thumbnail_is_small() -> None:
    for image in (np.zeros((600, 900, 3), np.uint8), np.zeros((2, 600, 900, 3), np.uint8)):
        with Image.open(io.BytesIO(thumbnail(image))) as picture:
            assert picture.size == (256, 171)


class ListSink:
    """Keeps events in memory."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    def record(self, make: MakeEvent, num_bytes: int = 0) -> None:
        self.events.append(make())

    def flush(self, timeout_s: float) -> bool:
        return True


def test_an_update_is_an_event_once_it_has_ended() -> None:
    sink, clock = ListSink(), FakeClock()
    trace = DeviceTrace(
        sink, device_id="d", space=token_space(), clock=clock, new_id=lambda: bytes(16)
    )

    def note(num_bytes: int, **state: Any) -> None:
        trace.updated(UpdateState(**state), digest=lambda: "ab" * 32, update_bytes=num_bytes)

    note(0)
    note(10, phase=Phase.FETCHING, target=1)
    note(10, phase=Phase.ACTIVE, target=1, version=1, watching=True)
    note(10, phase=Phase.ACTIVE, target=1, version=1)  # trusted
    note(30, phase=Phase.FAILED, target=2, version=1, reason=Reason.PROBE_DISAGREES, detail="no")
    note(30, phase=Phase.ROLLED_BACK, target=1, version=0, reason=Reason.OPERATOR_ROLLBACK)
    found = [
        (event.verdict, event.from_version, event.adapter_version, event.update_bytes)
        for event in sink.events
    ]
    assert found == [("applied", 0, 1, 0), ("failed", 1, 1, 20), ("rolled_back", 1, 0, 0)]
    applied, failed, left = sink.events
    assert (applied.reason, failed.reason, left.reason) == (
        "applied", "probe_disagrees", "operator_rollback"
    )  # fmt: skip
    assert failed.detail == "version 2: no"
    assert (applied.target_digest, failed.target_digest) == ("ab" * 32, None)
