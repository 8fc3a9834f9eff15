"""Which requests are for these pages: by the name they ask for, and by the page they come from."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from starlette.exceptions import HTTPException

from driftline_cloud.page.settings import PageSettings
from driftline_shared.host.loopback import host_asked, is_loopback


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
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    ours = request.headers.get("host", "").lower()
    if (origin is not None and _place(origin) != ours) or site == "cross-site":
        raise HTTPException(403, "this form was sent by another site's page")


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
