"""Messages that do not parse: told to their sender, instead of raised where nobody catches it.

gRPC parses before it calls, and answers INTERNAL with a traceback in the log. Here parsing gives an
`Unreadable` instead, which `readable` turns into an error of ours where the call is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from driftline_shared.errors import LinkError, Reason


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In the place of a message: how many bytes came that are none."""

    num_bytes: int


def tolerant(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """`parse`, giving `Unreadable` for what it cannot."""
    if parse is None:
        return None

    def try_to(data: bytes) -> Any:
        try:
            return parse(data)
        except Exception:  # DecodeError, whose class differs between protobuf back ends
            return Unreadable(len(data))

    return try_to


def readable(message: Any) -> Any:
    """The message; LinkError (message_invalid) where it could not be parsed."""
    if isinstance(message, Unreadable):
        raise LinkError(
            f"{message.num_bytes} bytes are no message of this protocol",
            reason=Reason.MESSAGE_INVALID,
        )
    return message
