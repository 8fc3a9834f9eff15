"""Letting somebody in: a request and a token become a certificate, or a place to wait."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from driftline_cloud.trust.issuer import Issuer
from driftline_cloud.trust.members import Members, State
from driftline_shared.errors import ConfigError, LinkError, Reason
from driftline_shared.trust.certificates import read_chain, read_request
from driftline_shared.trust.keys import identity_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """`chain`: the certificate and those above (PEM); empty while an operator has not accepted."""

    identity: str
    chain: bytes


def admit(
    issuer: Issuer, members: Members, request: bytes, *, label: str, token: str, now_unix_s: int
) -> Admission:
    """What the cloud answers to a certificate request (PKCS#10, DER).

    Who is accepted gets a certificate for the request's key, which that key has signed; so one that
    was listened to and is sent again gives its sender nothing. LinkError: `message_invalid`,
    `token_invalid`, `revoked`.
    """
    try:
        public = read_request(request).public_key()
    except ConfigError as error:
        raise LinkError(str(error), reason=Reason.MESSAGE_INVALID) from error
    assert isinstance(public, ec.EllipticCurvePublicKey)
    identity = identity_of(public)
    member = members.ask(identity, label=label, token=token, now_unix_s=now_unix_s)
    if member.state is not State.ACCEPTED:
        return Admission(identity=identity, chain=b"")
    chain = issuer.issue(public, member.role)
    end = read_chain(chain)[0].not_valid_after_utc
    members.certified(identity, not_after_unix_s=int(end.timestamp()))
    return Admission(identity=identity, chain=chain)
