"""Values and their messages have the same fields, but for those that a conversion names."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from driftline_proto.v1 import control_pb2, downlink_pb2, uplink_pb2
from driftline_shared import status, tokens, update
from driftline_shared.wire.fields import to_message, to_value

PAIRS: list[tuple[Any, Any, set[str], set[str]]] = [
    # message, value, what only the message has, what only the value has
    (control_pb2.SamplingPolicy, tokens.SamplingPolicy, set(), set()),
    (control_pb2.EnrolRequest, status.Enrolment, set(), set()),
    (control_pb2.EnrolReply, status.Welcome, set(), set()),
    (control_pb2.StatusReply, status.CloudStatus, set(), set()),
    (control_pb2.LineStatus, status.LineStatus, set(), set()),
    (control_pb2.RoundStatus, status.RoundStatus, set(), set()),
    (control_pb2.DeviceStatus, status.DeviceStatus, set(), set()),
    (uplink_pb2.Sample, tokens.Sample, set(), {"priority"}),
    (uplink_pb2.CodedTokens, tokens.CodedTokens, {"frames", "rows", "cols", "crc32"}, {"grid"}),
    (uplink_pb2.Regions, tokens.Regions, {"crc32"}, set()),
    (downlink_pb2.CheckRequest, status.UpdateQuery, set(), set()),
    (downlink_pb2.Manifest, update.Manifest, set(), set()),
    (downlink_pb2.TensorEntry, update.TensorEntry, set(), set()),
    (downlink_pb2.FetchRequest, status.BlobRequest, set(), set()),
    (downlink_pb2.ReportRequest, status.UpdateReport, {"device_id"}, set()),
]


@pytest.mark.parametrize(("message", "value", "only_message", "only_value"), PAIRS)
def test_names_agree(
    message: Any, value: Any, only_message: set[str], only_value: set[str]
) -> None:
    sent = {field.name for field in message.DESCRIPTOR.fields}
    held = {field.name for field in fields(value)}
    assert (sent - held, held - sent) == (only_message, only_value)


def test_what_is_given_by_hand_wins_and_a_missing_field_is_an_error() -> None:
    made = to_message(downlink_pb2.FetchRequest, status.BlobRequest(device_id="d", digest=b"1"))
    assert to_value(status.BlobRequest, made, device_id="e").device_id == "e"
    with pytest.raises(TypeError, match="grid"):
        to_value(tokens.CodedTokens, uplink_pb2.CodedTokens())
