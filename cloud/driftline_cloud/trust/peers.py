"""Who is at the other end of a connection: read from its certificate, and from nothing else."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from driftline_cloud.trust.issuer import Issuer, Role
from driftline_shared.trust.certificates import is_issued_by, read_chain
from driftline_shared.trust.keys import identity_of
from driftline_shared.trust.newcomers import newcomers_root

_MOST_KNOWN = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """`identity`: digest of its public key. `tls`: the version spoken. `ends_unix_s`: of its
    certificate, which a handshake alone looks at.
    """

    identity: str
    role: Role
    tls: str
    ends_unix_s: float


NOBODY = Peer(identity="", role=Role.NEWCOMER, tls="", ends_unix_s=float("inf"))


class Peers:
    """Peers by certificate: a device calls with the same one thousands of times. One event loop."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._known: OrderedDict[bytes, Peer] = OrderedDict()  # by digest of the certificate

    def of(self, auth_context: Mapping[str, Iterable[bytes]]) -> Peer:
        """From what gRPC says of a connection, whose certificate leads to a root that is trusted
        here, or is a newcomer's.
        """
        tls = _first(auth_context, "ssl_tls_version").decode(errors="replace")
        pem = _first(auth_context, "x509_pem_cert")
        key = hashlib.sha256(pem).digest()
        peer = self._known.pop(key, None) or self._read(pem)
        # A newcomer makes as many certificates as it likes.
        if peer.role is not Role.NEWCOMER:
            self._known[key] = peer
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return replace(peer, tls=tls)

    def _read(self, pem: bytes) -> Peer:
        try:
            certificate = read_chain(pem)[0]
            identity = identity_of(certificate.public_key())
        except (ValueError, AssertionError):
            return NOBODY
        role = self._issuer.role_of(certificate)
        if role is None and not is_issued_by(certificate, newcomers_root()):
            return NOBODY
        return Peer(
            identity=identity,
            role=role or Role.NEWCOMER,
            tls="",
            ends_unix_s=certificate.not_valid_after_utc.timestamp(),
        )


def _first(found: Mapping[str, Iterable[bytes]], key: str) -> bytes:
    return next(iter(found.get(key, ())), b"")
