"""What the failure of a gRPC call means: the other side's stable code, or unreachable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from driftline_shared.errors import LinkError, Reason, explain
from driftline_shared.program.proxies import proxy_advice
from driftline_shared.wire import REASON_KEY

ASK_FIX = "See that the cloud runs, that this is its address, and that the network gets there."
"""What to do where somebody asked a cloud that does not answer."""

CALL_ERRORS = (grpc.RpcError, ValueError)
"""What a call may raise; ValueError stands for a channel that another thread has closed."""


@contextmanager
def link_errors() -> Iterator[None]:
    """Around a call: its failure leaves as the `LinkError` that it stands for."""
    try:
        yield
    except CALL_ERRORS as error:
        raise as_link_error(error) from error


def as_link_error(error: Exception) -> LinkError:
    """The error of ours that a failed call stands for."""
    code = error.code() if isinstance(error, grpc.Call) else None
    details = (error.details() or "") if isinstance(error, grpc.Call) else str(error)
    reason = _reason(error)
    if reason is None:
        name = code.name if code is not None else "UNKNOWN"
        return LinkError(f"{name}: {details[:500]}", reason=Reason.UNREACHABLE)
    # A cloud says what to do behind what is wrong; whoever shows the error shows its fix, too.
    told = details[:500].removesuffix(f". {explain(reason)}")
    return LinkError(told, reason=reason)


def asked(address: str, error: LinkError) -> LinkError:
    """`error` for whoever asked the cloud at `address`."""
    fix = ask_fix(address) if error.reason is Reason.UNREACHABLE else error.fix
    return LinkError(f"the cloud at {address}: {error}", reason=error.reason, fix=fix)


def ask_fix(address: str) -> str:
    """What to do about a cloud at `address` that does not answer; a proxy on the way is named."""
    return proxy_advice(address) or ASK_FIX


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
