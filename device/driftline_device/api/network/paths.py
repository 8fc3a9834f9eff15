"""Paths as people and programs write them: a slash too many changes nothing."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile("/{2,}")


def tidy(path: str) -> str:
    """`path` with single slashes and none at its end."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


class Tidied:
    """Answers there instead of redirecting: a redirected POST often arrives without its body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            scope = {**scope, "path": tidy(scope["path"])}
        await self._app(scope, receive, send)
