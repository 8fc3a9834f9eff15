"""Who may ask: whoever holds the token; without one, programs on this machine only."""

from __future__ import annotations

import hmac

from fastapi import Request

from driftline_device.api.errors import ApiError
from driftline_device.api.settings import Key
from driftline_shared.host.loopback import host_asked, is_loopback


class Access:
    """A dependency of routes; a `key` without a secret asks for no token."""

    def __init__(self, key: Key) -> None:
        self._key = key

    async def __call__(self, request: Request) -> None:
        """ApiError: 401 for a wrong token, 403 for a web page that found its way to loopback."""
        secret = self._key.secret.encode()
        if not secret:
            self._check_host(request)
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), secret)
        if scheme.lower() != "bearer" or not same:
            raise ApiError(
                401,
                "this device asks for its bearer token: send the header Authorization: Bearer "
                "TOKEN (the api_key of an OpenAI client)",
                code="invalid_api_key",
            )

    @staticmethod
    def _check_host(request: Request) -> None:
        """A name that a stranger's DNS points to loopback opens nothing without a token."""
        # Read from the header itself: the request's URL falls back to this machine's own address.
        if not is_loopback(host_asked(request.headers.get("host", ""))):
            raise ApiError(
                403,
                "without a token this device answers as localhost or 127.0.0.1 only; ask there, or "
                "set api.token_file",
                code="host_not_allowed",
            )
