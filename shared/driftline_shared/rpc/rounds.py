"""Ordering a round: what `driftline cloud round start` and the demo ask of a cloud."""

from __future__ import annotations

from driftline_proto.v1 import control_pb2, control_pb2_grpc
from driftline_shared.errors import LinkError
from driftline_shared.rpc.channel import open_channel
from driftline_shared.rpc.errors import link_errors
from driftline_shared.rpc.reach import told
from driftline_shared.status import RoundStatus
from driftline_shared.trust.credentials import Credentials
from driftline_shared.wire import from_round_status


def start_round(
    address: str,
    line: str = "",
    *,
    timeout_s: float = 10.0,
    credentials: Credentials | None = None,
) -> RoundStatus:
    """The round that the cloud at `address` (host:port) opened with what waited there.

    `line`: empty for a cloud of one line. Raises LinkError: `round_open`, `too_few_samples`,
    `line_unknown`, or `unreachable`.
    """
    request = control_pb2.StartRoundRequest(line=line)
    with open_channel(address, credentials=credentials) as channel:
        try:
            with link_errors():
                reply = control_pb2_grpc.ControlStub(channel).StartRound(request, timeout=timeout_s)
        except LinkError as error:
            raise told(address, error, credentials) from error
    return from_round_status(reply)
