"""How a cloud is: what a device, `driftline cloud status` and the demo ask it."""

from __future__ import annotations

import grpc

from driftline_proto.v1 import control_pb2_grpc
from driftline_shared.errors import LinkError
from driftline_shared.rpc.channel import open_channel
from driftline_shared.rpc.errors import link_errors
from driftline_shared.rpc.reach import told
from driftline_shared.status import CloudStatus, DevicePage
from driftline_shared.trust.credentials import Credentials
from driftline_shared.wire import from_cloud_status, to_status_request


def get_status(
    channel: grpc.Channel, *, timeout_s: float, page: DevicePage | None = None
) -> CloudStatus:
    """The cloud now; `LinkError` if it does not answer."""
    with link_errors():
        reply = control_pb2_grpc.ControlStub(channel).GetStatus(
            to_status_request(page or DevicePage()), timeout=timeout_s
        )
    return from_cloud_status(reply)


def fetch_status(
    address: str,
    *,
    timeout_s: float = 5.0,
    page: DevicePage | None = None,
    credentials: Credentials | None = None,
) -> CloudStatus:
    """As `get_status`, of the cloud at `address` (host:port)."""
    with open_channel(address, credentials=credentials) as channel:
        try:
            return get_status(channel, timeout_s=timeout_s, page=page)
        except LinkError as error:
            raise told(address, error, credentials) from error
