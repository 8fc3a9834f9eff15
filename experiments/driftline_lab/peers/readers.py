"""Serialised messages as values, as cloud and device read them: for whoever breaks them."""

from __future__ import annotations

from driftline_proto.v1 import control_pb2, downlink_pb2, uplink_pb2
from driftline_shared import wire
from driftline_shared.bounds import check_policy
from driftline_shared.signing.bundle import SignedBundle
from driftline_shared.status import Enrolment, SampleAck, UpdateReport
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.update import Manifest


def manifest_bytes(manifest: Manifest) -> bytes:
    """As it crosses the network."""
    return wire.to_manifest(manifest).SerializeToString()


def read_manifest(data: bytes) -> Manifest:
    """As a device reads it."""
    return wire.from_manifest(downlink_pb2.Manifest.FromString(data))


def bundle_bytes(bundle: SignedBundle) -> bytes:
    """As it crosses the network, decompressed."""
    return wire.to_signed_bundle(bundle).SerializeToString()


def policy_bytes(policy: SamplingPolicy) -> bytes:
    """As it crosses the network."""
    return wire.to_policy(policy).SerializeToString()


def read_policy(data: bytes) -> SamplingPolicy:
    """As a device reads it."""
    policy = wire.from_policy(control_pb2.SamplingPolicy.FromString(data))
    check_policy(policy)
    return policy


def enrolment_bytes(enrolment: Enrolment) -> bytes:
    """As it crosses the network."""
    return wire.to_enrolment(enrolment).SerializeToString()


def read_enrolment(data: bytes) -> Enrolment:
    """As a cloud reads it."""
    return wire.from_enrolment(control_pb2.EnrolRequest.FromString(data))


def report_bytes(report: UpdateReport) -> bytes:
    """As it crosses the network."""
    return wire.to_report("device", report).SerializeToString()


def read_report(data: bytes) -> UpdateReport:
    """As a cloud reads it."""
    return wire.from_report(downlink_pb2.ReportRequest.FromString(data))[1]


def acks_bytes(acks: list[SampleAck]) -> bytes:
    """As they cross the network."""
    return wire.to_acks(acks).SerializeToString()


def read_acks(data: bytes) -> list[SampleAck]:
    """As a device reads them, with what corrections come along."""
    message = uplink_pb2.SampleAcks.FromString(data)
    wire.from_corrections(message)
    return wire.from_acks(message)
