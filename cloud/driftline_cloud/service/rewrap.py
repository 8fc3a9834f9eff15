"""Putting something around what answers a call, whichever of gRPC's four kinds the call is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from driftline_cloud.service.messages import tolerant

Call = Callable[[Any, Any], Awaitable[Any]]

OURS = "/driftline."
"""Other people's services on the same port are health and reflection."""


def rewrap(handler: Any, around: Callable[[Call], Call], *, ours: bool = True) -> Any:
    """The same kind of handler with `around` its behaviour. `ours`: a message that cannot be read
    reaches the behaviour, which says so.
    """
    kinds = {
        (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
        (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
        (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
        (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
    }
    name, make = kinds[(bool(handler.request_streaming), bool(handler.response_streaming))]
    read = handler.request_deserializer
    return make(
        around(getattr(handler, name)),
        request_deserializer=tolerant(read) if ours else read,
        response_serializer=handler.response_serializer,
    )
