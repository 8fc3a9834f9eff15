"""A tiny client: what `driftline cloud status` and the demo ask a running cloud."""

from __future__ import annotations

import grpc

from driftline_proto.v1 import control_pb2, control_pb2_grpc
from driftline_shared import wire
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import CloudStatus

_KNOWN = frozenset(Reason)


def fetch_status(address: str, *, timeout_s: float = 5.0) -> CloudStatus:
    """The status of the cloud at `address` (host:port).

    Raises LinkError with the cloud's own reason, or `unreachable` if nobody answers in time.
    """
    with grpc.insecure_channel(address) as channel:
        try:
            reply = control_pb2_grpc.ControlStub(channel).GetStatus(
                control_pb2.StatusRequest(), timeout=timeout_s
            )
        except grpc.RpcError as error:
            raise _link_error(address, error) from error
    return wire.from_cloud_status(reply)


def _link_error(address: str, error: grpc.RpcError) -> LinkError:
    details = ""
    if isinstance(error, grpc.Call):
        details = error.details() or ""
        for key, value in error.trailing_metadata() or ():
            if key == wire.REASON_KEY and value in _KNOWN:
                return LinkError(f"{address} answered: {details}", reason=Reason(str(value)))
    return LinkError(f"no cloud answers at {address}: {details}")
