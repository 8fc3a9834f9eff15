"""The gRPC channel to the cloud, and what its failures mean."""

from __future__ import annotations

import grpc

from driftline_shared.errors import LinkError, Reason
from driftline_shared.wire import REASON_KEY

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
    return grpc.insecure_channel(address, options=_OPTIONS)


CALL_ERRORS = (grpc.RpcError, ValueError)
"""What a call may raise; ValueError stands for a channel that the link has closed."""


def as_link_error(error: Exception) -> LinkError:
    """The error of ours that a failed call stands for: the cloud's stable code, or unreachable."""
    code = error.code() if isinstance(error, grpc.Call) else None
    details = (error.details() or "") if isinstance(error, grpc.Call) else str(error)
    reason = _reason(error)
    if reason is None:
        name = code.name if code is not None else "UNKNOWN"
        return LinkError(f"{name}: {details[:500]}", reason=Reason.UNREACHABLE)
    return LinkError(details[:500], reason=reason)


def _reason(error: Exception) -> Reason | None:
    """The stable code in the trailing metadata, if the cloud gave one that is known here."""
    if not isinstance(error, grpc.Call):
        return None
    for key, value in error.trailing_metadata() or ():
        if key == REASON_KEY:
            try:
                return Reason(value if isinstance(value, str) else value.decode())
            except ValueError:
                return None
    return None
