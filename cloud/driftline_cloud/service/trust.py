"""The trust servicer: whom to trust, and certificates for those who may come in."""

from __future__ import annotations

from typing import Any

import grpc
import structlog

from driftline_cloud.service.pools import Pools
from driftline_cloud.service.rates import Rates, address_of
from driftline_cloud.signing.signing import Signing
from driftline_cloud.trust.admitting import admit
from driftline_cloud.trust.server_identity import ServerIdentity
from driftline_cloud.trust.trust import CloudTrust
from driftline_proto.v1 import trust_pb2, trust_pb2_grpc
from driftline_shared.errors import LinkError, Reason
from driftline_shared.host.clock import Clock

_log = structlog.get_logger(__name__)


class TrustServicer(trust_pb2_grpc.TrustServicer):
    """Thin: converts, asks the register in a thread, answers."""

    def __init__(
        self,
        trust: CloudTrust,
        pools: Pools,
        rates: Rates,
        clock: Clock,
        signing: Signing | None = None,
    ) -> None:
        self._trust, self._rates, self._clock = trust, rates, clock
        self._signing = signing
        self._run = pools.control.run

    async def Roots(self, request: Any, context: Any) -> trust_pb2.RootsReply:  # noqa: N802
        """Whom to trust, for those who know the fingerprint."""
        self._rates.certify.take(address_of(context.peer()))
        return trust_pb2.RootsReply(roots_pem=self._trust.issuer.roots_pem)

    async def Certify(self, request: Any, context: Any) -> trust_pb2.CertifyReply:  # noqa: N802
        """A certificate for the key of the request, or a place to wait."""
        address = address_of(context.peer())
        self._rates.certify.take(address)
        if self._signing is not None and not self._signing.root:
            # A device without it would take what nobody signed.
            raise LinkError(
                "the root that vouches for this cloud's updates cannot be read",
                reason=Reason.STORE_BUSY,
            )
        found = await self._run(address, self._admit, request)
        _log.info("member.asked", identity=found.identity, accepted=bool(found.chain))
        return trust_pb2.CertifyReply(
            chain_pem=found.chain,
            roots_pem=self._trust.issuer.roots_pem,
            identity=found.identity,
            update_root=self._signing.root if self._signing is not None and found.chain else b"",
        )

    def _admit(self, request: trust_pb2.CertifyRequest) -> Any:
        return admit(
            self._trust.issuer,
            self._trust.members,
            request.request,
            label=request.label,
            token=request.token,
            now_unix_s=int(self._clock.now_s()),
        )


def server_credentials(server: ServerIdentity) -> grpc.ServerCredentials:
    """TLS that asks every client for a certificate, with the server's own of the moment.

    A new one is taken at the handshake that comes after it is due; whoever is connected stays so.
    """

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([server.pair], server.trusted)

    def renewed() -> Any:  # None, too: go on with the one before
        return configuration() if server.renewed() else None

    return grpc.dynamic_ssl_server_credentials(
        configuration(), renewed, require_client_authentication=True
    )
