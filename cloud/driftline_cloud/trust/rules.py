"""Which role may call what. Pure: a table and one function."""

from __future__ import annotations

from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.peers import Peer
from driftline_shared.errors import LinkError, Reason

ANYONE = frozenset(Role)
_DEVICE = frozenset({Role.DEVICE})
_OPERATOR = frozenset({Role.OPERATOR})
_LOOK = frozenset({Role.OPERATOR, Role.READER})

METHODS = {
    "/driftline.v1.Trust/Roots": ANYONE,
    "/driftline.v1.Trust/Certify": ANYONE,
    "/driftline.v1.Control/Enrol": _DEVICE,
    "/driftline.v1.Control/GetPolicy": _DEVICE,
    # A device sees its own line in it, and no other device.
    "/driftline.v1.Control/GetStatus": _LOOK | _DEVICE,
    "/driftline.v1.Control/StartRound": _OPERATOR,
    "/driftline.v1.Uplink/Push": _DEVICE,
    "/driftline.v1.Downlink/Check": _DEVICE,
    "/driftline.v1.Downlink/Fetch": _DEVICE,
    "/driftline.v1.Downlink/Report": _DEVICE,
    "/grpc.health.v1.Health/Check": ANYONE,
    "/grpc.health.v1.Health/Watch": ANYONE,
}
"""Whatever is not here (reflection, a service of tomorrow) is for those who may look."""

OLDEST_TLS = "TLSv1.3"


def refuse(method: str, peer: Peer) -> None:
    """Raise LinkError where `peer` may not call `method`."""
    if peer.tls != OLDEST_TLS:
        raise LinkError(f"the connection speaks {peer.tls}", reason=Reason.TLS_TOO_OLD)
    allowed = METHODS.get(method, _LOOK)
    if peer.role in allowed:
        return
    if peer.role is Role.NEWCOMER:
        raise LinkError("the caller is not enrolled", reason=Reason.NOT_ENROLLED)
    name = method.rpartition("/")[2]
    raise LinkError(f"{name} is not for a {peer.role}", reason=Reason.NOT_ALLOWED)


def check_self(peer: Peer, device_id: str) -> None:
    """Raise LinkError (not_your_id) where a device speaks for another one."""
    if peer.role is Role.DEVICE and device_id != peer.identity:
        raise LinkError(
            f"device {peer.identity} speaks for {device_id[:64]!r}", reason=Reason.NOT_YOUR_ID
        )
