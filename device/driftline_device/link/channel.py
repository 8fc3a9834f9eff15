"""The gRPC channel to the cloud."""

from __future__ import annotations

import grpc

from driftline_shared.rpc import channel

_OPTIONS: list[tuple[str, int]] = [
    # A dead path is noticed within keepalive_time + timeout even if nothing is being sent.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Our own backoff decides when to try: gRPC's must not stretch it to its default of two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # One device in one process: sharing connections between channels would share their backoff.
    ("grpc.use_local_subchannel_pool", 1),
    # Our resend is by sample id and by offset; a hidden second send would only double bytes.
    ("grpc.enable_retries", 0),
]


def open_channel(address: str) -> grpc.Channel:
    """A channel to `address` (host:port), without TLS for now; it connects at the first call.

    Message sizes stay at gRPC's default of 4 MiB: whatever is larger is chunked.
    """
    return channel.open_channel(address, _OPTIONS)
