"""Server-sent events of an answer that grows, in the frames of the route that was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

from driftline_device.api.ask.spoken import Spoken
from driftline_device.api.errors import ApiError

LAST_EVENT = b"data: [DONE]\n\n"

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Frames(Protocol):
    """What a route puts round an answer's parts; each gives the bytes of its events."""

    def opening(self) -> Iterable[bytes]:
        """Before the first word."""

    def more(self, text: str) -> Iterable[bytes]:
        """`text` follows what was sent."""

    def closing(self, spoken: Spoken) -> Iterable[bytes]:
        """All of the text was sent."""

    def failed(self, error: ApiError) -> Iterable[bytes]:
        """Instead of the rest."""


class Replies(Protocol):
    """See `Call`."""

    async def next(self) -> str | Spoken:
        """The text so far, or at last the whole answer."""

    def abandon(self) -> None:
        """Nobody waits any more."""


def event(data: dict[str, Any], name: str | None = None) -> bytes:
    """One server-sent event."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + text + b"\n\n"


async def events(frames: Frames, replies: Replies, first: str | Spoken) -> AsyncIterator[bytes]:
    """The answer as it grows. What was sent cannot be taken back: an answer that was started anew,
    by another version, goes on only where it says the same.
    """
    sent, reply = "", first
    try:
        for each in frames.opening():
            yield each
        while True:
            text = reply if isinstance(reply, str) else reply.text
            if text.startswith(sent):
                if text != sent:
                    for each in frames.more(text[len(sent) :]):
                        yield each
                    sent = text
            elif isinstance(reply, Spoken) or not sent.startswith(text):
                raise ApiError(
                    500,
                    "the model failed and started anew with other words: ask again",
                    code="begun_anew",
                )
            if isinstance(reply, Spoken):
                break
            reply = await replies.next()
        for each in frames.closing(reply):
            yield each
    except ApiError as error:
        for each in frames.failed(error):
            yield each
    finally:
        replies.abandon()
