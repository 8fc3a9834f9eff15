"""Who may look at the owner's pages: as elsewhere, and browsers by their own password prompt."""

from __future__ import annotations

import base64
import binascii

from fastapi import Request
from starlette.exceptions import HTTPException

from driftline_device.api.access import Access
from driftline_device.api.errors import ApiError
from driftline_device.api.holders import Scope
from driftline_device.api.key import Key
from driftline_shared.host.loopback import is_own_form

PROMPT = {"www-authenticate": 'Basic realm="Driftline: any name, the token as password"'}


class PageAccess(Access):
    """A dependency of pages: a browser sends the token as the password of HTTP's Basic scheme."""

    def __init__(self, key: Key) -> None:
        super().__init__(key, Scope.OWNER)

    async def __call__(self, request: Request) -> None:
        """As `Access`; a browser without the token is asked for it."""
        try:
            if self._key.is_needed and (password := _password(request)):
                self._check(password)
                return
            await super().__call__(request)
        except ApiError as error:
            if error.status != 401:
                raise
            raise HTTPException(401, str(error), headers=PROMPT) from None


def check_origin(request: Request) -> None:
    """403 for a form that another site's page sent: browsers say where a form comes from."""
    given = request.headers
    if not is_own_form(given.get("origin"), given.get("host", ""), given.get("sec-fetch-site")):
        raise ApiError(
            403, "this form comes from another site's page", code="cross_site_not_allowed"
        )


def _password(request: Request) -> str:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        decoded = base64.b64decode(given, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return ""
    return decoded.decode("utf-8", errors="replace")
