"""Which names mean this machine only, and a port of it."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or address without port, is this machine only."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_asked(header: str) -> str:
    """The host of a request's Host `header`, without port and in lower case; empty: none that can
    be read. A page whose name a stranger's DNS points to loopback is told by it.
    """
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:  # brackets that do not match
        return ""


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens now; somebody may, before it is used."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def is_own_form(origin: str | None, host: str, site: str | None) -> bool:
    """Whether a form was sent by a page of the `host` that it is sent to, as browsers say it in the
    headers Origin and Sec-Fetch-Site; who is no browser sends neither.
    """
    same = origin is None or origin.partition("://")[2] == host
    return same and site in (None, "same-origin", "none")
