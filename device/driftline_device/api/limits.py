"""What one client, or many, may cost: requests at a time, bytes and seconds of a body."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftline_device.api.errors import ApiError

MOST_DISCARDED_BYTES = 64 << 20
DISCARD_TIMEOUT_S = 5.0


class Admission:
    """One request under way; `leave` ends that, however often it is called."""

    def __init__(self, active: ActiveRequests) -> None:
        self._active: ActiveRequests | None = active

    def leave(self) -> None:
        """There is room for another."""
        active, self._active = self._active, None
        if active is not None:
            active.num_active -= 1


class ActiveRequests:
    """Requests under way, at most `limit`; used by the event loop's thread only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.num_active = 0

    def admit(self) -> Admission:
        """Admit one more; ApiError (429) if there are too many."""
        if self.num_active >= self._limit:
            raise ApiError(
                429,
                f"{self.num_active} requests are under way already, as many as may be: "
                "ask again later (api.max_waiting bounds how many may wait)",
                code="too_many_requests",
            )
        self.num_active += 1
        return Admission(self)


async def read_body(request: Request, *, max_bytes: int, timeout_s: float) -> bytes:
    """The body; ApiError: 413 past `max_bytes`, stated or not, 408 past `timeout_s`, 415 for what
    is no JSON by its content type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A browser sends this type to another site only where that site allows it.
        raise ApiError(
            415, f"content-type is {kind!r}, not application/json", code="unsupported_media_type"
        )
    too_large = ApiError(
        413,
        f"the body has more than {max_bytes} bytes (api.max_body_bytes): send a smaller image",
        code="request_too_large",
    )
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise ApiError(
            408, f"the body did not arrive within {timeout_s:g} s", code="request_timeout"
        ) from None
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
