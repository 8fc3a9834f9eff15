"""The control servicer: a device introduces itself, asks for its policy; an operator looks and
starts rounds.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from driftline_cloud.service.cloud import Cloud
from driftline_proto.v1 import control_pb2, control_pb2_grpc
from driftline_shared import bounds, wire
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import PROTOCOL, Enrolment, Welcome

_log = structlog.get_logger(__name__)


class ControlServicer(control_pb2_grpc.ControlServicer):
    """Thin: converts, asks the cloud's parts in a thread, answers."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def Enrol(self, request: Any, context: Any) -> control_pb2.EnrolReply:  # noqa: N802
        """Know the device from now on; refuse one that this cloud could not help."""
        return wire.to_welcome(await asyncio.to_thread(self._enrol, wire.from_enrolment(request)))

    async def GetPolicy(self, request: Any, context: Any) -> control_pb2.SamplingPolicy:  # noqa: N802
        """The sampling policy in force."""
        bounds.check_device_id(request.device_id)
        await asyncio.to_thread(self._cloud.known_device, request.device_id)
        return wire.to_policy(self._cloud.policy)

    async def GetStatus(self, request: Any, context: Any) -> control_pb2.StatusReply:  # noqa: N802
        """What an operator sees."""
        return wire.to_cloud_status(await asyncio.to_thread(self._cloud.status))

    async def StartRound(self, request: Any, context: Any) -> control_pb2.RoundStatus:  # noqa: N802
        """A round by order of an operator."""
        if request.line:
            bounds.check_word("line", request.line)
        round_ = await asyncio.to_thread(self._cloud.start_round, request.line)
        _log.info("round.ordered", round=round_.round_id)
        return wire.to_round_status(round_)

    def _enrol(self, enrolment: Enrolment) -> Welcome:
        check_enrolment(self._cloud, enrolment)
        line = self._cloud.line
        now_s = int(self._cloud.clock.now_s())
        self._cloud.devices.enrol(enrolment, line.id, now_unix_s=now_s)
        _log.info("device.enrolled", device=enrolment.device_id, version=enrolment.adapter_version)
        return Welcome(
            cloud_id=self._cloud.cloud_id,
            policy=self._cloud.policy,
            newest_version=self._cloud.registry.newest_version(self._cloud.line.id),
        )


def check_enrolment(cloud: Cloud, enrolment: Enrolment) -> None:
    """Raise `LinkError` unless the device speaks our protocol and runs our pair."""
    line = cloud.line
    if enrolment.protocol != PROTOCOL:
        raise LinkError(
            f"the device speaks protocol {enrolment.protocol}, this cloud {PROTOCOL}",
            reason=Reason.PROTOCOL_MISMATCH,
        )
    if enrolment.token_space != line.token_space.digest:
        raise LinkError(
            f"pair {enrolment.pair} has token space {enrolment.token_space[:12]}, this cloud's "
            f"pair {line.pair} has {line.token_space.digest[:12]}",
            reason=Reason.TOKEN_SPACE_UNKNOWN,
        )
    if enrolment.base_model != line.base_model:
        raise LinkError(
            f"the device runs base model {enrolment.base_model[:12]}, "
            f"this cloud adapts {line.base_model[:12]}",
            reason=Reason.BASE_MODEL_UNKNOWN,
        )
