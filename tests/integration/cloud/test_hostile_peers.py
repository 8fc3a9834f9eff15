"""What an odd or hostile peer sends costs that peer, over real gRPC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from driftline_proto.v1 import control_pb2, downlink_pb2, uplink_pb2
from driftline_shared import wire
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.errors import Reason
from driftline_shared.pair.pair import load_pair
from driftline_shared.rpc.status import fetch_status
from driftline_shared.status import (
    DevicePage,
    SampleVerdict,
    UpdateOutcome,
    UpdateQuery,
    UpdateReport,
)
from driftline_shared.tokens import VisualTokens
from tests.fakes.cloud import GRID, WIDTH, make_sample
from tests.fakes.waiting import until
from tests.integration.cloud.conftest import TIMEOUT_S, RunningCloud

ONES = np.ones(WIDTH, dtype=np.float32)

Start = Callable[..., RunningCloud]


def _reason(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    found = dict(error.trailing_metadata() or ())
    return error.code(), str(found.get(wire.REASON_KEY))


def _batch(cloud: RunningCloud, *samples: uplink_pb2.Sample, device: str = "d1"):
    return uplink_pb2.SampleBatch(
        device_id=device, token_space=cloud.pair.token_space.digest, samples=samples
    )


def _message(cloud: RunningCloud, number: int, **changes: object) -> uplink_pb2.Sample:
    space = replace(cloud.pair.token_space, grid=GRID, low=-ONES, high=ONES)
    return wire.to_sample(replace(make_sample(number, space), **changes))


def test_a_grid_without_places_is_refused_and_its_neighbours_are_taken(
    cloud: RunningCloud,
) -> None:
    cloud.enrol()
    odd = _message(cloud, 0)
    odd.tokens.frames, odd.tokens.num_tokens = 1_024, 16_384
    acks = cloud.push(_batch(cloud, odd, _message(cloud, 1)))
    assert [(ack.verdict, ack.reason) for ack in acks] == [
        (SampleVerdict.REFUSED, Reason.SAMPLE_SHAPE),
        (SampleVerdict.STORED, ""),
    ]
    assert cloud.line().num_samples == 1


def test_texts_are_bounded_in_the_tokens_of_the_real_pair(start_cloud: Start) -> None:
    tiny = load_pair("tiny")
    cloud = start_cloud(pair=tiny)
    cloud.enrol()
    grid = tiny.token_space.grid
    tokens = VisualTokens(
        values=np.zeros((3, tiny.token_space.width), dtype=np.float32),
        positions=np.arange(3, dtype=np.int32),
        grid=grid,
    )
    coded = encode_tokens(tokens, tiny.token_space, "int8")
    message = _message(cloud, 1, tokens=coded)
    message.question = "\U0001f600" * 4_096
    (ack,) = cloud.push(_batch(cloud, message))
    assert (ack.verdict, ack.reason) == (SampleVerdict.REFUSED, Reason.SAMPLE_TEXT_INVALID)
    assert "16384 tokens" in ack.detail


def test_bytes_that_are_no_message_are_told_to_their_sender(
    cloud: RunningCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.enrol()
    push = cloud.channel.stream_stream("/driftline.v1.Uplink/Push")
    calls = [cloud.channel.unary_unary(f"/driftline.v1.{name}") for name in _UNARY]
    for call in (lambda: list(push(iter([b"\xff\xff"]), timeout=TIMEOUT_S)), *map(_of, calls)):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert _reason(caught.value) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            Reason.MESSAGE_INVALID,
        )
    assert "Traceback" not in "".join(capsys.readouterr())
    assert cloud.push(_batch(cloud, _message(cloud, 1)))[0].verdict is SampleVerdict.STORED


_UNARY = ("Control/Enrol", "Control/GetPolicy", "Downlink/Check", "Downlink/Report")


def _of(call: Callable[..., object]) -> Callable[[], object]:
    return lambda: call(b"\xff\xff", timeout=TIMEOUT_S)


def test_the_same_id_twice_is_a_duplicate_and_an_overlong_one_is_not_echoed(
    cloud: RunningCloud,
) -> None:
    cloud.enrol()
    long = uplink_pb2.Sample(id=b"x" * 100_000)
    acks = cloud.push(_batch(cloud, _message(cloud, 1), _message(cloud, 1), long))
    verdicts = [ack.verdict for ack in acks]
    assert verdicts == [SampleVerdict.STORED, SampleVerdict.DUPLICATE, SampleVerdict.REFUSED]
    assert acks[2].reason == Reason.SAMPLE_ID_INVALID and len(acks[2].id) <= 128


def test_what_a_terminal_obeys_reaches_nobody(cloud: RunningCloud) -> None:
    cloud.enrol()
    hostile = "\x1b[31mRED\x1b[2J\x1b]0;owned\x07"
    cloud.downlink.Report(
        downlink_pb2.ReportRequest(device_id="d1", version=0, outcome="failed", reason=hostile),
        timeout=TIMEOUT_S,
    )
    (device,) = cloud.line().devices
    assert "\\x1b[31mRED" in device.last_report and "\x1b" not in device.last_report


def test_versions_that_never_were_are_not_believed(cloud: RunningCloud) -> None:
    cloud.enrol()
    query = downlink_pb2.CheckRequest(
        device_id="d1", base_model=cloud.pair.base_model, adapter_version=999
    )
    cloud.downlink.Check(query, timeout=TIMEOUT_S)
    report = UpdateReport(version=12_345, outcome=UpdateOutcome.APPLIED, reason="applied")
    cloud.downlink.Report(wire.to_report("d1", report), timeout=TIMEOUT_S)
    (device,) = cloud.line().devices
    assert (device.adapter_version, device.last_report) == (0, "")


def test_a_forged_report_costs_one_full_update_a_day(cloud: RunningCloud) -> None:
    cloud.enrol()
    cloud.push(_batch(cloud, *(_message(cloud, number) for number in range(40))))
    until(lambda: cloud.line().newest_version == 1, TIMEOUT_S)

    def kind() -> int:
        query = downlink_pb2.CheckRequest(
            device_id="d1", base_model=cloud.pair.base_model, adapter_version=0
        )
        return cloud.downlink.Check(query, timeout=TIMEOUT_S).manifest.kind

    def say(outcome: UpdateOutcome, reason: str) -> None:
        report = UpdateReport(version=1, outcome=outcome, reason=reason)
        cloud.downlink.Report(wire.to_report("d1", report), timeout=TIMEOUT_S)

    assert kind() == downlink_pb2.UPDATE_KIND_DELTA
    say(UpdateOutcome.REFUSED, "base_mismatch")
    assert kind() == downlink_pb2.UPDATE_KIND_FULL
    say(UpdateOutcome.FAILED, "probe_error")
    say(UpdateOutcome.REFUSED, "base_mismatch")
    assert kind() == downlink_pb2.UPDATE_KIND_DELTA


def test_reports_and_enrolments_have_a_rate(start_cloud: Start) -> None:
    # So slow a rate that nothing comes back while the test runs, on any machine.
    slow = {"rates.report_per_s": 1e-4, "rates.enrol_per_s": 1e-4}
    cloud = start_cloud(**{"rates.report_burst": 3, "rates.enrol_burst": 5, **slow})
    cloud.enrol()
    report = wire.to_report("d1", UpdateReport(version=0, outcome=UpdateOutcome.APPLIED))
    for _ in range(3):
        cloud.downlink.Report(report, timeout=TIMEOUT_S)
    with pytest.raises(grpc.RpcError) as caught:
        cloud.downlink.Report(report, timeout=TIMEOUT_S)
    refused = (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.RATE_EXCEEDED)
    assert _reason(caught.value) == refused
    huge = downlink_pb2.ReportRequest(device_id="d1", version=0, outcome="applied")
    for number in range(200):
        huge.numbers[f"n{number}" + "x" * 100] = 1.0
    cloud.enrol("d2")
    huge.device_id = "d2"
    with pytest.raises(grpc.RpcError) as caught:
        cloud.downlink.Report(huge, timeout=TIMEOUT_S)
    assert _reason(caught.value)[1] == Reason.MESSAGE_INVALID
    with pytest.raises(grpc.RpcError) as caught:
        for number in range(4):
            cloud.enrol(f"x{number}")
    assert _reason(caught.value) == refused


def test_a_fleet_is_counted_and_shown_by_pages_what_is_stuck_first(start_cloud: Start) -> None:
    cloud = start_cloud(**{"rates.enrol_per_s": 0})
    enrol = cloud.control.Enrol
    names = [f"d{number:04d}" for number in range(1_010)]
    for name in names:
        enrol(wire.to_enrolment(cloud.enrolment(name)), timeout=TIMEOUT_S)
    report = UpdateReport(version=0, outcome=UpdateOutcome.FAILED, reason="probe_error")
    cloud.downlink.Report(wire.to_report("d0777", report), timeout=TIMEOUT_S)
    address = f"127.0.0.1:{cloud.port}"
    seen: list[str] = []
    for offset in range(0, 1_010, 300):
        (line,) = fetch_status(
            address, timeout_s=TIMEOUT_S, page=DevicePage(num_devices=300, offset=offset)
        ).lines
        assert line.num_devices == 1_010
        seen += [device.device_id for device in line.devices]
    assert seen[0] == "d0777" and sorted(seen) == names


def test_a_full_database_is_told_once_and_recovers(
    start_cloud: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    pages = [0]

    def bound(connection: object, *_: object) -> None:
        if pages[0]:
            connection.execute(f"PRAGMA max_page_count={pages[0]}")

    event.listen(Engine, "checkout", bound)
    try:
        cloud = start_cloud()
        cloud.enrol()
        pages[0] = 1  # SQLite keeps what there is: nothing may be added
        acks = cloud.push(_batch(cloud, *(_message(cloud, n) for n in range(400))))
        assert {(ack.verdict, ack.reason) for ack in acks} == {
            (SampleVerdict.RETRY, Reason.STORE_BUSY)
        }
        pages[0] = 1_000_000
        acks = cloud.push(_batch(cloud, *(_message(cloud, n) for n in range(400))))
        assert {ack.verdict for ack in acks} == {SampleVerdict.STORED}
    finally:
        event.remove(Engine, "checkout", bound)


def test_status_of_an_old_client_still_shows_devices(cloud: RunningCloud) -> None:
    cloud.enrol()
    reply = cloud.control.GetStatus(control_pb2.StatusRequest(), timeout=TIMEOUT_S)
    assert [device.device_id for device in reply.lines[0].devices] == ["d1"]


def test_a_fleet_that_comes_back_at_once_waits_its_turn(cloud: RunningCloud) -> None:
    """gRPC by itself would cancel calls at random beyond a thousand that wait."""
    cloud.enrol()
    query = UpdateQuery(device_id="d1", base_model=cloud.pair.base_model, adapter_version=0)
    message = wire.to_update_query(query)
    calls = [cloud.downlink.Check.future(message, timeout=TIMEOUT_S) for _ in range(4_000)]
    assert {call.code() for call in calls} == {grpc.StatusCode.OK}
