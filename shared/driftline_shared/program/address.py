"""host:port as settings and flags give it: what cannot be one is refused with what is right."""

from __future__ import annotations

import ipaddress

_EXAMPLE = "as in 127.0.0.1:7443 or [::1]:7443"

_MOST_PORT = 65_535


def check_address(text: str, *, least_port: int = 1) -> str:
    """`text`, a host:port that gRPC can use; ValueError says what is wrong and what would be right.

    `least_port`: 0 where a port may be left to the system.
    """
    if (problem := _problem(text, least_port)) is not None:
        raise ValueError(f"is not host:port, {_EXAMPLE}: {problem}")
    return text


def own_host(host: str) -> str:
    """Where this machine reaches what listens on `host`: if on every address, on loopback."""
    return "127.0.0.1" if host in ("0.0.0.0", "[::]") else host


def _problem(text: str, least_port: int) -> str | None:
    scheme, separator, rest = text.partition("://")
    if separator:
        bare = rest.partition("/")[0].rpartition("@")[2] or "HOST:PORT"
        return f"write {bare}, without {scheme}://"
    if any(sign.isspace() or sign in "/@?#,%" for sign in text):
        return "a path, a blank or a sign that no host has is in it"
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not least_port <= int(port[:6]) <= _MOST_PORT:
        return f"the port is a number from {least_port} to {_MOST_PORT}"
    if not host:
        return "the host is missing"
    if host.startswith("[") or host.endswith("]"):
        bracketed = (host[0], host[-1]) == ("[", "]") and _is_ipv6(host[1:-1])
        return None if bracketed else f"{host} is no IPv6 address in brackets"
    if ":" in host:
        return f"write [{host}]:{port}" if _is_ipv6(host) else "a host has no colon"
    return None


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def without_password(url: str) -> str:
    """`url` with three stars in the place of its password, if it has one."""
    head, mark, tail = url.partition("://")
    account, at, place = tail.rpartition("@")
    if not mark or not at or ":" not in account:
        return url
    return f"{head}{mark}{account.partition(':')[0]}:***@{place}"
