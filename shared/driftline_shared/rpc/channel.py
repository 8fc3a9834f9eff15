"""The one way to a cloud: a gRPC channel that asks no proxy for this very machine."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from driftline_shared.program.proxies import host_of, is_here


def open_channel(address: str, options: Sequence[tuple[str, int]] = ()) -> grpc.Channel:
    """A channel to `address` (host:port), without TLS for now; it connects at the first call."""
    direct = [("grpc.enable_http_proxy", 0)] if is_here(host_of(address)) else []
    return grpc.insecure_channel(address, options=[*options, *direct])
