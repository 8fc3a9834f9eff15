"""Proxies that the environment names: never for this very machine, and named where one is used.

gRPC, like most HTTP clients, sends what it is told to send to 127.0.0.1 through `http_proxy`, too,
unless `no_proxy` says otherwise.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, MutableMapping
from urllib.parse import urlsplit

from driftline_shared.host.loopback import is_loopback

LOOPBACK = ("localhost", "127.0.0.1", "::1", "127.0.0.0/8")
"""What is added to `no_proxy`; the last is for clients that know networks."""

_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
"""What gRPC reads, in this order (core/lib/.../http_proxy_mapper.cc)."""

_ALL = (*_VARIABLES, "all_proxy", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")


def spare_loopback(environment: MutableMapping[str, str]) -> None:
    """Add this machine to the exceptions of proxies, if there are proxies."""
    if not any(environment.get(name) for name in _ALL):
        return
    held = next((environment[name] for name in _EXCEPTIONS if environment.get(name)), "")
    listed = [part.strip() for part in held.split(",") if part.strip()]
    if "*" not in listed:
        listed += [host for host in LOOPBACK if host not in listed]
    for name in _EXCEPTIONS:
        environment[name] = ",".join(listed)
    if environment.get("no_grpc_proxy"):  # gRPC reads it in place of the others
        own = environment["no_grpc_proxy"].split(",")
        environment["no_grpc_proxy"] = ",".join(
            [*own, *(host for host in LOOPBACK if host not in own)]
        )


def is_here(host: str) -> bool:
    """Whether what is sent to `host` (a name or an address) stays on this machine."""
    host = host.strip("[]").rstrip(".").lower()
    if is_loopback(host) or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def host_of(address: str) -> str:
    """The host of host:port, without brackets."""
    return address.rpartition(":")[0].strip("[]")


def proxy_for(address: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """`name=value` of the variable whose proxy gRPC uses for `address` (host:port), without user
    and password; None: it goes there directly.
    """
    host = host_of(address)
    if is_here(host):
        return None
    exceptions = environment.get("no_grpc_proxy") or environment.get("no_proxy") or ""
    if any(_covers(part.strip(), host) for part in exceptions.split(",") if part.strip()):
        return None
    for name in _VARIABLES:
        if value := environment.get(name):
            return f"{name}={_without_user(value)}"
    return None


def proxy_advice(address: str, environment: Mapping[str, str] = os.environ) -> str:
    """What to do about a proxy where `address` cannot be reached; empty where there is none."""
    proxy = proxy_for(address, environment)
    if proxy is None:
        return ""
    host = host_of(address)
    return f"The environment sends this through a proxy ({proxy}): add {host} to no_proxy."


def _covers(exception: str, host: str) -> bool:
    if "/" in exception:
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(exception, strict=False)
        except ValueError:
            return False
    return exception == "*" or host.endswith(exception)


def _without_user(value: str) -> str:
    """A proxy's URL as it may be shown."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    except ValueError:
        return "(no URL)"
