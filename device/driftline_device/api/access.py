"""Who may ask: whoever holds a key that opens it; without any, programs on this machine only."""

from __future__ import annotations

import math

from fastapi import Request

from driftline_device.api.errors import ApiError
from driftline_device.api.holders import Scope
from driftline_device.api.key import Key
from driftline_shared.host.loopback import host_asked, is_loopback


class Access:
    """A dependency of routes that one scope opens; where no key is needed it asks for none."""

    def __init__(self, key: Key, *scopes: Scope) -> None:
        """`scopes`: any of them opens the route."""
        self._key, self._scopes = key, frozenset(scopes)

    async def __call__(self, request: Request) -> None:
        """ApiError: 401 for a wrong token, 403 for one that opens something else, or for a web page
        that found its way to loopback, 429 for one that asked too often.
        """
        if not self._key.is_needed:
            self._check_host(request)
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        self._check(given.strip() if scheme.lower() == "bearer" else "")

    def _check(self, token: str) -> None:
        holder = self._key.find(token)
        if holder is None:
            raise ApiError(
                401,
                "this device asks for its bearer token: send the header Authorization: Bearer "
                "TOKEN (the api_key of an OpenAI client)",
                code="invalid_api_key",
            )
        if not holder.scopes & self._scopes:
            wanted = " or ".join(sorted(self._scopes))
            raise ApiError(
                403, f"this key does not open it: its scopes need {wanted}", code="scope_missing"
            )
        if wait_s := self._key.wait_s(holder):
            raise ApiError(
                429,
                f"this key may ask {holder.per_minute:,} times a minute",
                code="rate_limit_exceeded",
                retry_after_s=math.ceil(wait_s),
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
