"""The one way to a cloud: a gRPC channel that asks no proxy for this very machine."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from driftline_shared.program.proxies import host_of, is_here
from driftline_shared.trust.credentials import SERVER_NAME, Credentials


def open_channel(
    address: str,
    options: Sequence[tuple[str, int | str]] = (),
    *,
    credentials: Credentials | None = None,
) -> grpc.Channel:
    """A channel to `address` (host:port); it connects at the first call.

    `credentials`: TLS with a certificate on both sides; None: neither, for a cloud without an
    authority.
    """
    direct = [("grpc.enable_http_proxy", 0)] if is_here(host_of(address)) else []
    found: list[tuple[str, int | str]] = [*options, *direct]
    if credentials is None:
        return grpc.insecure_channel(address, options=found)
    # Devices know a cloud by its authority, not by the address that it has today.
    found.append(("grpc.ssl_target_name_override", SERVER_NAME))
    tls = grpc.ssl_channel_credentials(
        root_certificates=credentials.roots,
        private_key=credentials.key,
        certificate_chain=credentials.chain,
    )
    return grpc.secure_channel(address, tls, options=found)
