"""Channels to a cloud for many simulated devices in one process."""

from __future__ import annotations

import grpc

_OPTIONS = (
    # Each channel is a connection of its own, as each device's is.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to `address` (host:port, on this machine) that shares its connection with none."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)
