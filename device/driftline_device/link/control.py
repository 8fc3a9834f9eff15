"""A device introduces itself, asks for its sampling policy, and how the cloud is."""

from __future__ import annotations

import grpc

from driftline_device.link.channel import CALL_ERRORS, as_link_error
from driftline_proto.v1 import control_pb2, control_pb2_grpc
from driftline_shared.status import CloudStatus, Enrolment, Welcome
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.wire import from_cloud_status, from_policy, from_welcome, to_enrolment


def enrol(channel: grpc.Channel, enrolment: Enrolment, *, timeout_s: float) -> Welcome:
    """The cloud's welcome; `LinkError` if it does not answer or does not agree."""
    stub = control_pb2_grpc.ControlStub(channel)
    try:
        reply = stub.Enrol(to_enrolment(enrolment), timeout=timeout_s)
    except CALL_ERRORS as error:
        raise as_link_error(error) from error
    return from_welcome(reply)


def get_policy(channel: grpc.Channel, device_id: str, *, timeout_s: float) -> SamplingPolicy:
    """The policy now; `LinkError` (unknown_device) from a cloud whose state was reset."""
    stub = control_pb2_grpc.ControlStub(channel)
    try:
        reply = stub.GetPolicy(control_pb2.PolicyRequest(device_id=device_id), timeout=timeout_s)
    except CALL_ERRORS as error:
        raise as_link_error(error) from error
    return from_policy(reply)


def get_status(channel: grpc.Channel, *, timeout_s: float) -> CloudStatus:
    """The cloud now; `LinkError` if it does not answer."""
    stub = control_pb2_grpc.ControlStub(channel)
    try:
        reply = stub.GetStatus(control_pb2.StatusRequest(), timeout=timeout_s)
    except CALL_ERRORS as error:
        raise as_link_error(error) from error
    return from_cloud_status(reply)
