"""Whether a cloud answers at an address: one question to its health service, on a channel of its
own.
"""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from driftline_device.link.channel import CALL_ERRORS, as_link_error, open_channel
from driftline_shared.errors import LinkError


def check_health(address: str, *, timeout_s: float) -> None:
    """Return if the cloud at `address` (host:port) serves; LinkError within `timeout_s` if not."""
    channel: grpc.Channel = open_channel(address)
    try:
        stub = health_pb2_grpc.HealthStub(channel)
        reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
    except CALL_ERRORS as error:
        raise as_link_error(error) from error
    finally:
        channel.close()
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise LinkError(f"{address} answers, but does not serve now")
