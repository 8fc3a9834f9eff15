"""Enrolment, sampling policy and status as messages."""

from __future__ import annotations

from driftline_proto.v1 import control_pb2
from driftline_shared import bounds
from driftline_shared.status import (
    CloudStatus,
    DeviceStatus,
    Enrolment,
    LineStatus,
    RoundStatus,
    Welcome,
)
from driftline_shared.tokens import SamplingPolicy


def to_policy(policy: SamplingPolicy) -> control_pb2.SamplingPolicy:
    """A sampling policy."""
    bounds.check_policy(policy)
    return control_pb2.SamplingPolicy(
        revision=policy.revision,
        gate_score=policy.gate_score,
        gate_quantile=policy.gate_quantile,
        token_scorer=policy.token_scorer,
        token_share=policy.token_share,
        token_codec=policy.token_codec,
        sample_bytes=policy.sample_bytes,
        day_bytes=policy.day_bytes,
        samples_per_hour=policy.samples_per_hour,
        audit_rate=policy.audit_rate,
        images_may_leave=policy.images_may_leave,
        max_sample_share=policy.max_sample_share,
    )


def from_policy(message: control_pb2.SamplingPolicy) -> SamplingPolicy:
    """A checked sampling policy; whether scorer and codec exist is the device's to say."""
    policy = SamplingPolicy(
        revision=message.revision,
        gate_score=message.gate_score,
        gate_quantile=message.gate_quantile,
        token_scorer=message.token_scorer,
        token_share=message.token_share,
        token_codec=message.token_codec,
        sample_bytes=message.sample_bytes,
        day_bytes=message.day_bytes,
        samples_per_hour=message.samples_per_hour,
        audit_rate=message.audit_rate,
        images_may_leave=message.images_may_leave,
        max_sample_share=message.max_sample_share,
    )
    bounds.check_policy(policy)
    return policy


def to_enrolment(enrolment: Enrolment) -> control_pb2.EnrolRequest:
    """How a device introduces itself."""
    bounds.check_enrolment(enrolment)
    return control_pb2.EnrolRequest(
        device_id=enrolment.device_id,
        pair=enrolment.pair,
        token_space=enrolment.token_space,
        base_model=enrolment.base_model,
        protocol=enrolment.protocol,
        adapter_version=enrolment.adapter_version,
    )


def from_enrolment(message: control_pb2.EnrolRequest) -> Enrolment:
    """A checked enrolment; whether pair and protocol fit is the service's to say."""
    enrolment = Enrolment(
        device_id=message.device_id,
        pair=message.pair,
        token_space=message.token_space,
        base_model=message.base_model,
        protocol=message.protocol,
        adapter_version=message.adapter_version,
    )
    bounds.check_enrolment(enrolment)
    return enrolment


def to_welcome(welcome: Welcome) -> control_pb2.EnrolReply:
    """The cloud's answer to an enrolment."""
    return control_pb2.EnrolReply(
        cloud_id=welcome.cloud_id,
        policy=to_policy(welcome.policy),
        newest_version=welcome.newest_version,
    )


def from_welcome(message: control_pb2.EnrolReply) -> Welcome:
    """A checked answer to an enrolment."""
    bounds.check_word("cloud_id", message.cloud_id)
    bounds.check_count("newest_version", message.newest_version)
    return Welcome(
        cloud_id=message.cloud_id,
        policy=from_policy(message.policy),
        newest_version=message.newest_version,
    )


def to_cloud_status(status: CloudStatus) -> control_pb2.StatusReply:
    """What an operator sees of a cloud."""
    return control_pb2.StatusReply(
        cloud_id=status.cloud_id,
        version=status.version,
        lines=[_to_line_status(line) for line in status.lines],
    )


def from_cloud_status(message: control_pb2.StatusReply) -> CloudStatus:
    """What an operator sees of a cloud."""
    return CloudStatus(
        cloud_id=message.cloud_id,
        version=message.version,
        lines=tuple(_from_line_status(line) for line in message.lines),
    )


def _to_line_status(line: LineStatus) -> control_pb2.LineStatus:
    return control_pb2.LineStatus(
        line=line.line,
        newest_version=line.newest_version,
        num_samples=line.num_samples,
        num_waiting=line.num_waiting,
        num_rounds=line.num_rounds,
        round=None if line.round is None else _to_round_status(line.round),
        devices=[
            control_pb2.DeviceStatus(
                device_id=device.device_id,
                adapter_version=device.adapter_version,
                last_seen_unix_s=device.last_seen_unix_s,
                last_report=device.last_report,
            )
            for device in line.devices
        ],
    )


def _from_line_status(message: control_pb2.LineStatus) -> LineStatus:
    return LineStatus(
        line=message.line,
        newest_version=message.newest_version,
        num_samples=message.num_samples,
        num_waiting=message.num_waiting,
        num_rounds=message.num_rounds,
        round=_from_round_status(message.round) if message.HasField("round") else None,
        devices=tuple(
            DeviceStatus(
                device_id=device.device_id,
                adapter_version=device.adapter_version,
                last_seen_unix_s=device.last_seen_unix_s,
                last_report=device.last_report,
            )
            for device in message.devices
        ),
    )


def _to_round_status(status: RoundStatus) -> control_pb2.RoundStatus:
    return control_pb2.RoundStatus(
        round_id=status.round_id,
        state=status.state,
        num_samples=status.num_samples,
        target_version=status.target_version,
        reason=status.reason,
        numbers=status.numbers,
        progress=status.progress,
    )


def _from_round_status(message: control_pb2.RoundStatus) -> RoundStatus:
    return RoundStatus(
        round_id=message.round_id,
        state=message.state,
        num_samples=message.num_samples,
        target_version=message.target_version,
        reason=message.reason,
        numbers=bounds.numbers(message.numbers),
        progress=message.progress,
    )
