"""The control servicer: a device introduces itself, asks for its policy; an operator looks and
starts rounds.
"""

from __future__ import annotations

from typing import Any

import structlog

from driftline_cloud.service import calls
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.service.guard import caller
from driftline_cloud.service.pools import Pools
from driftline_cloud.service.rates import Rates, address_of
from driftline_cloud.trust.issuer import Role
from driftline_proto.v1 import control_pb2, control_pb2_grpc
from driftline_shared import bounds, wire

_log = structlog.get_logger(__name__)


class ControlServicer(control_pb2_grpc.ControlServicer):
    """Thin: converts, asks the cloud's parts in a thread of its kind, answers."""

    def __init__(self, cloud: Cloud, pools: Pools, rates: Rates) -> None:
        self._cloud, self._rates = cloud, rates
        self._run = pools.control.run

    async def Enrol(self, request: Any, context: Any) -> control_pb2.EnrolReply:  # noqa: N802
        """Know the device from now on; refuse one that this cloud could not help."""
        self._rates.enrol.take(address_of(context.peer()))
        enrolment = wire.from_enrolment(request)
        return wire.to_welcome(
            await self._run(enrolment.device_id, calls.enrol, self._cloud, enrolment)
        )

    async def GetPolicy(self, request: Any, context: Any) -> control_pb2.SamplingPolicy:  # noqa: N802
        """The sampling policy in force."""
        bounds.check_device_id(request.device_id)
        line = await self._run(request.device_id, self._cloud.line_of, request.device_id)
        return wire.to_policy(line.policy)

    async def GetStatus(self, request: Any, context: Any) -> control_pb2.StatusReply:  # noqa: N802
        """What an operator sees."""
        page, peer = wire.from_status_request(request), caller()
        if peer is not None and peer.role is Role.DEVICE:
            found = await self._run(peer.identity, self._cloud.status_of, peer.identity)
        else:
            found = await self._run(context.peer(), self._cloud.status, page)
        return wire.to_cloud_status(found)

    async def StartRound(self, request: Any, context: Any) -> control_pb2.RoundStatus:  # noqa: N802
        """A round by order of an operator."""
        if request.line:
            bounds.check_word("line", request.line)
        round_ = await self._run(context.peer(), self._cloud.start_round, request.line)
        _log.info("round.ordered", round=round_.round_id)
        return wire.to_round_status(round_)
