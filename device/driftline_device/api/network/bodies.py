"""Bodies of requests: how many bytes, how fast, and how many at once.

A body has a few seconds, and one more for each so many bytes that have come, up to a bound: a
large one over a slow link arrives, one that stands still goes soon. It is the rule of Apache's
mod_reqtimeout (`body=20,MinRate=500`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftline_device.api.errors import ApiError

MOST_DISCARDED_BYTES = 64 << 20
DISCARD_TIMEOUT_S = 5.0

GRACE_S = 3.0
"""Seconds for a body of few bytes."""


class BodyRoom:
    """Bytes of bodies that are on their way; used by the event loop's thread only."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.num_bytes = 0

    def take(self, num_bytes: int) -> None:
        """ApiError (429) if that is too many."""
        if self.num_bytes + num_bytes > self._max_bytes:
            raise ApiError(
                429,
                f"other requests' bodies take {self.num_bytes} bytes already: ask again later",
                code="too_many_requests",
            )
        self.num_bytes += num_bytes

    def give_back(self, num_bytes: int) -> None:
        """They are needed no more."""
        self.num_bytes -= num_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyLimits:
    """`max_bytes` of one body. It has `grace_s` seconds and one more for each `bytes_per_s` bytes
    that came, `timeout_s` in all.
    """

    max_bytes: int
    timeout_s: float
    bytes_per_s: float
    grace_s: float = GRACE_S

    def deadline_s(self, num_bytes: int) -> float:
        """Seconds after the header by which there must be more, where `num_bytes` are here."""
        return min(self.timeout_s, self.grace_s + num_bytes / self.bytes_per_s)


async def read_body(request: Request, limits: BodyLimits, room: BodyRoom) -> bytes:
    """The body; ApiError: 413 past `max_bytes`, stated or not, 408 if it comes too slowly, 415 for
    what is no JSON by its content type, 429 where `room` is full.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A browser sends this type to another site only where that site allows it.
        raise ApiError(
            415,
            f"content-type is {kind[:100]!r}, not application/json",
            code="unsupported_media_type",
        )
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise ApiError(
            415,
            f"content-encoding is {coding[:100]!r}: send the body as it is, not compressed",
            code="unsupported_media_type",
        )
    too_large = ApiError(
        413,
        f"the body has more than {limits.max_bytes} bytes (api.max_body_bytes): send a smaller "
        "image",
        code="request_too_large",
    )
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limits.max_bytes:
        raise too_large
    body = bytearray()
    begun_s = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(begun_s + limits.deadline_s(0)) as timeout:
            async for chunk in request.stream():
                if len(body) + len(chunk) > limits.max_bytes:
                    raise too_large
                room.take(len(chunk))
                body += chunk
                timeout.reschedule(begun_s + limits.deadline_s(len(body)))
    except TimeoutError:
        raise ApiError(
            408,
            f"the body did not arrive in time: {len(body)} bytes came in "
            f"{limits.deadline_s(len(body)):g} s (api.body_timeout_s, api.body_bytes_per_s)",
            code="request_timeout",
        ) from None
    finally:
        room.give_back(len(body))
    return bytes(body)


class ReadToTheEnd:
    """Takes what is left of a body before a refusal leaves, within bounds.

    A client that is still writing when the connection closes often sees a broken pipe instead of
    the refusal and its reason.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        # Whoever waits for "100 continue" has not started to write.
        left = b"expect" not in dict(scope["headers"])

        async def noted() -> Message:
            nonlocal left
            message = await receive()
            left = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def replied(message: Message) -> None:
            nonlocal left
            if left and message["type"] == "http.response.start":
                left = False
                if message["status"] != 408:  # then nothing comes
                    await _discard(receive)
            await send(message)

        await self._app(scope, noted, replied)


async def _discard(receive: Receive) -> None:
    num_bytes = 0
    try:
        async with asyncio.timeout(DISCARD_TIMEOUT_S):
            while num_bytes < MOST_DISCARDED_BYTES:
                message = await receive()
                num_bytes += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
