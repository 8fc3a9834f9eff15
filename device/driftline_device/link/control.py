"""A device introduces itself, asks for its sampling policy, and whether a cloud is there."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from driftline_device.link.channel import open_channel
from driftline_proto.v1 import control_pb2, control_pb2_grpc
from driftline_shared.errors import LinkError
from driftline_shared.rpc.errors import link_errors
from driftline_shared.rpc.reach import told
from driftline_shared.status import Enrolment, Welcome
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.trust.credentials import Credentials
from driftline_shared.wire import from_policy, from_welcome, to_enrolment


def enrol(channel: grpc.Channel, enrolment: Enrolment, *, timeout_s: float) -> Welcome:
    """The cloud's welcome; `LinkError` if it does not answer or does not agree."""
    stub = control_pb2_grpc.ControlStub(channel)
    with link_errors():
        reply = stub.Enrol(to_enrolment(enrolment), timeout=timeout_s)
    return from_welcome(reply)


def get_policy(channel: grpc.Channel, device_id: str, *, timeout_s: float) -> SamplingPolicy:
    """The policy now; `LinkError` (unknown_device) from a cloud whose state was reset."""
    stub = control_pb2_grpc.ControlStub(channel)
    with link_errors():
        reply = stub.GetPolicy(control_pb2.PolicyRequest(device_id=device_id), timeout=timeout_s)
    return from_policy(reply)


def check_health(address: str, *, timeout_s: float, credentials: Credentials | None = None) -> None:
    """Return if the cloud at `address` (host:port) serves; LinkError within `timeout_s` if not."""
    try:
        with open_channel(address, credentials) as channel, link_errors():
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=timeout_s
            )
    except LinkError as error:
        raise told(address, error, credentials) from error
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise LinkError(f"{address} answers, but does not serve now")
