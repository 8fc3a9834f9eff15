"""One batch of samples by itself: for tools that send again what a device once sent.

A device's own samples go by `uplink`, which keeps a stream and a window.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from driftline_proto.v1 import uplink_pb2_grpc
from driftline_shared.errors import LinkError
from driftline_shared.rpc.errors import link_errors
from driftline_shared.status import SampleAck
from driftline_shared.wire import from_acks, to_batch


def push(
    channel: grpc.Channel,
    device_id: str,
    token_space: str,
    bodies: Sequence[bytes],
    *,
    timeout_s: float,
) -> list[SampleAck]:
    """The cloud's word on each of `bodies` (serialised samples), in order; `LinkError` if none."""
    batch = to_batch(device_id, token_space, bodies)
    with link_errors():
        for message in uplink_pb2_grpc.UplinkStub(channel).Push(iter([batch]), timeout=timeout_s):
            return from_acks(message)
    raise LinkError("the cloud closed the stream without an answer")
