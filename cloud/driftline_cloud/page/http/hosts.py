"""Which requests are for these pages: by the name they ask for, and by the page they come from."""

from __future__ import annotations

from fastapi import Request
from starlette.exceptions import HTTPException

from driftline_cloud.page.settings import PageSettings
from driftline_shared.host.loopback import host_asked, is_loopback, is_own_form


def check_host(request: Request, settings: PageSettings) -> str:
    """The host that is asked for; 403 where it is not ours, for any site may name this machine."""
    host = host_asked(request.headers.get("host", ""))
    if not is_loopback(host) and host not in {one.lower() for one in settings.hosts}:
        raise HTTPException(
            403,
            "these pages are shown as localhost, 127.0.0.1 or a name of page.hosts: ask there",
        )
    return host


def check_origin(request: Request) -> None:
    """403 for a form that another site's page sent."""
    given = request.headers
    if not is_own_form(given.get("origin"), given.get("host", ""), given.get("sec-fetch-site")):
        raise HTTPException(403, "this form was sent by another site's page")
