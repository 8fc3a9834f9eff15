"""Whether a Ray cluster can be reached, asked in seconds: Ray itself takes a quarter of an hour."""

from __future__ import annotations

import socket

CONNECT_S = 3.0


def why_away(ray_address: str) -> str:
    """Why the head at `ray_address` (host:port) cannot be reached now; empty: it can, or none is
    asked for, or it is named in another way (`auto`, a URL).
    """
    host, _, port = ray_address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return ""
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        return f"no Ray cluster answers at {ray_address}: {error.strerror or error}"
    return ""
