"""Enrolment, sampling policy and status as messages."""

from __future__ import annotations

from driftline_proto.v1 import control_pb2
from driftline_shared import bounds
from driftline_shared.codec.tokens import AUTO, AUTO_WITHOUT_TABLES
from driftline_shared.status import (
    CloudStatus,
    DevicePage,
    DeviceStatus,
    Enrolment,
    LineStatus,
    RolloutStatus,
    RoundStatus,
    UnknownBase,
    Welcome,
    WorkerStatus,
)
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.wire.fields import to_message, to_value


def to_policy(policy: SamplingPolicy) -> control_pb2.SamplingPolicy:
    """A sampling policy. A device of before `AUTO` reads the codec that needs no tables."""
    bounds.check_policy(policy)
    auto = policy.token_codec == AUTO
    codec = AUTO_WITHOUT_TABLES if auto else policy.token_codec
    return to_message(control_pb2.SamplingPolicy, policy, token_codec=codec, token_codec_auto=auto)


def from_policy(message: control_pb2.SamplingPolicy) -> SamplingPolicy:
    """A checked sampling policy; whether scorer and codec exist is the device's to say."""
    codec = AUTO if message.token_codec_auto else message.token_codec
    policy = to_value(SamplingPolicy, message, token_codec=codec)
    bounds.check_policy(policy)
    return policy


def to_enrolment(enrolment: Enrolment) -> control_pb2.EnrolRequest:
    """How a device introduces itself."""
    bounds.check_enrolment(enrolment)
    return to_message(control_pb2.EnrolRequest, enrolment)


def from_enrolment(message: control_pb2.EnrolRequest) -> Enrolment:
    """A checked enrolment; whether pair and protocol fit is the service's to say."""
    enrolment = to_value(Enrolment, message)
    bounds.check_enrolment(enrolment)
    return enrolment


def to_welcome(welcome: Welcome) -> control_pb2.EnrolReply:
    """The cloud's answer to an enrolment."""
    return to_message(control_pb2.EnrolReply, welcome, policy=to_policy(welcome.policy))


def from_welcome(message: control_pb2.EnrolReply) -> Welcome:
    """A checked answer to an enrolment."""
    bounds.check_word("cloud_id", message.cloud_id)
    bounds.check_count("newest_version", message.newest_version)
    return to_value(Welcome, message, policy=from_policy(message.policy))


def to_status_request(page: DevicePage) -> control_pb2.StatusRequest:
    """What an operator wants to see."""
    return to_message(control_pb2.StatusRequest, page)


def from_status_request(message: control_pb2.StatusRequest) -> DevicePage:
    """Which devices are to be shown; a number of 0 is what an older client says."""
    wanted = message.num_devices or DevicePage().num_devices
    return DevicePage(num_devices=min(wanted, bounds.MAX_SHOWN_DEVICES), offset=message.offset)


def to_cloud_status(status: CloudStatus) -> control_pb2.StatusReply:
    """What an operator sees of a cloud."""
    return to_message(
        control_pb2.StatusReply,
        status,
        lines=[_to_line_status(line) for line in status.lines],
        unknown_bases=[to_message(control_pb2.UnknownBase, base) for base in status.unknown_bases],
    )


def from_cloud_status(message: control_pb2.StatusReply) -> CloudStatus:
    """What an operator sees of a cloud."""
    lines = tuple(_from_line_status(line) for line in message.lines)
    unknown = tuple(to_value(UnknownBase, base) for base in message.unknown_bases)
    troubles = tuple(message.troubles)
    return to_value(CloudStatus, message, lines=lines, unknown_bases=unknown, troubles=troubles)


def _to_line_status(line: LineStatus) -> control_pb2.LineStatus:
    return to_message(
        control_pb2.LineStatus,
        line,
        round=None if line.round is None else to_round_status(line.round),
        rollout=None
        if line.rollout is None
        else to_message(control_pb2.RolloutStatus, line.rollout),
        devices=[to_message(control_pb2.DeviceStatus, device) for device in line.devices],
        workers=[to_message(control_pb2.WorkerStatus, worker) for worker in line.workers],
    )


def _from_line_status(message: control_pb2.LineStatus) -> LineStatus:
    return to_value(
        LineStatus,
        message,
        round=from_round_status(message.round) if message.HasField("round") else None,
        rollout=to_value(RolloutStatus, message.rollout) if message.HasField("rollout") else None,
        devices=tuple(to_value(DeviceStatus, device) for device in message.devices),
        workers=tuple(to_value(WorkerStatus, worker) for worker in message.workers),
    )


def to_round_status(round_: RoundStatus) -> control_pb2.RoundStatus:
    """A round as an operator sees it."""
    return to_message(control_pb2.RoundStatus, round_)


def from_round_status(message: control_pb2.RoundStatus) -> RoundStatus:
    """A round as an operator sees it."""
    return to_value(RoundStatus, message, numbers=bounds.numbers(message.numbers))
