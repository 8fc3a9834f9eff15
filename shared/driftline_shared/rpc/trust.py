"""Asking a cloud for a certificate: the first one, by an invitation, and each one after it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection
from dataclasses import dataclass

import grpc
from cryptography import x509

from driftline_proto.v1 import trust_pb2, trust_pb2_grpc
from driftline_shared.errors import LinkError, Reason
from driftline_shared.program.proxies import host_of
from driftline_shared.rpc.channel import open_channel
from driftline_shared.rpc.errors import asked, link_errors
from driftline_shared.signing.bundle import MAX_METADATA_BYTES
from driftline_shared.trust.certificates import fingerprint, leads_to, read_chain, to_pem
from driftline_shared.trust.credentials import SERVER_NAME, Credentials
from driftline_shared.trust.invitation import Invitation
from driftline_shared.trust.keys import Signer, identity_of
from driftline_shared.trust.newcomers import newcomer


class NoTlsError(LinkError):
    """Something listens there, and it speaks no TLS 1.3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Certified:
    """`chain`: PEM, leaf first; empty while an operator has not accepted the key. `roots`: whom to
    trust from now on. `update_root`: whose signatures updates have; empty: none.
    """

    chain: bytes
    roots: bytes
    identity: str
    update_root: bytes = b""


def enrol(
    invitation: Invitation,
    signer: Signer,
    *,
    label: str,
    timeout_s: float = 10.0,
    known: Collection[str] = (),
) -> Certified:
    """A certificate for `signer` from the cloud that `invitation` names.

    What listens there is believed nothing but its root, which must have the invitation's
    fingerprint, or one of those that are `known`; the token is sent only to who holds a key that
    this root vouches for. LinkError: `authority_unknown`, `token_invalid`, `revoked`,
    `unreachable`.
    """
    try:
        found = roots_at(invitation.address, timeout_s=timeout_s)
        roots = to_pem([root for root in found if fingerprint(root) in {invitation.root, *known}])
        if not roots:
            raise LinkError(
                f"its root is none with fingerprint {invitation.root[:16]}...",
                reason=Reason.AUTHORITY_UNKNOWN,
            )
        key, chain = newcomer()
        trusted = Credentials(key=key, chain=chain, roots=roots)
        with open_channel(invitation.address, credentials=trusted) as channel:
            return certify(
                channel, signer, label=label, token=invitation.token, timeout_s=timeout_s
            )
    except LinkError as error:
        raise asked(invitation.address, error) from error


def certify(
    channel: grpc.Channel,
    signer: Signer,
    *,
    label: str = "",
    token: str = "",
    timeout_s: float = 10.0,
) -> Certified:
    """A certificate for `signer` over a channel whose other end is trusted; LinkError."""
    request = trust_pb2.CertifyRequest(request=signer.request(), label=label, token=token)
    with link_errors():
        reply = trust_pb2_grpc.TrustStub(channel).Certify(request, timeout=timeout_s)
    found = Certified(
        chain=reply.chain_pem,
        roots=reply.roots_pem,
        identity=signer.identity,
        update_root=reply.update_root,
    )
    if found.chain:
        _check(found)
    return found


def _check(found: Certified) -> None:
    """What is kept for a month is looked at first."""
    if len(found.update_root) > MAX_METADATA_BYTES:
        raise LinkError("the root for updates is too large", reason=Reason.MESSAGE_INVALID)
    try:
        chain, roots = read_chain(found.chain), read_chain(found.roots)
        is_whole = any(leads_to(chain, root) for root in roots)
        is_ours = identity_of(chain[0].public_key()) == found.identity
    except (ValueError, AssertionError) as error:
        raise LinkError(
            f"the cloud's certificate cannot be read: {error}", reason=Reason.MESSAGE_INVALID
        ) from error
    if not is_whole or not is_ours:
        raise LinkError(
            "the cloud sent a certificate that is not for this key, or not of its root",
            reason=Reason.MESSAGE_INVALID,
        )


def roots_at(address: str, *, timeout_s: float) -> list[x509.Certificate]:
    """What the cloud at `address` says are its roots: to be compared, never to be believed.

    LinkError; NoTlsError where something listens that speaks no TLS 1.3.
    """
    # Its own certificate stands for a root here: so far nothing is believed, and nothing is told.
    key, chain = newcomer()
    stranger = Credentials(key=key, chain=chain, roots=_leaf_at(address, timeout_s))
    with open_channel(address, credentials=stranger) as channel, link_errors():
        reply = trust_pb2_grpc.TrustStub(channel).Roots(trust_pb2.RootsRequest(), timeout=timeout_s)
    try:
        return read_chain(reply.roots_pem)
    except ValueError:
        return []


def _leaf_at(address: str, timeout_s: float) -> bytes:
    """The certificate (PEM) that a server shows, unverified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    host, port = host_of(address), int(address.rpartition(":")[2])
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=SERVER_NAME) as connection,
        ):
            der = connection.getpeercert(binary_form=True)
    except ssl.SSLError as error:
        raise NoTlsError(
            "what listens there speaks no TLS 1.3",
            reason=Reason.UNREACHABLE,
            fix="Is it a Driftline cloud after `driftline cloud init`, and is this its port?",
        ) from error
    except OSError as error:
        raise LinkError(str(error), reason=Reason.UNREACHABLE) from error
    return ssl.DER_cert_to_PEM_cert(der or b"").encode()
