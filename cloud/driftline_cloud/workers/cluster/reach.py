"""Whether a cluster is there and lets us in, said within seconds and in one sentence.

Ray itself tries for many minutes and ends with a traceback.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from importlib import import_module

from driftline_cloud.workers.workers import WorkersUnreachableError
from driftline_shared.errors import ConfigError

CONNECT_S = 3.0
"""For one connection."""

POLL_S = 0.5


def parts_of(address: str) -> tuple[str, int]:
    """Host and port of a checked address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def wait_for_port(
    address: str,
    *,
    within_s: float,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Return when somebody listens at `address`; WorkersUnreachableError after `within_s`."""
    until = now() + within_s
    while True:
        try:
            socket.create_connection(parts_of(address), timeout=CONNECT_S).close()
            return
        except OSError as error:
            if now() + POLL_S >= until:
                raise WorkersUnreachableError(
                    f"no Ray cluster answers at {address}: {error.strerror or error}",
                    fix="Start it (`driftline cloud cluster up --listen HOST:PORT`), or correct"
                    " the address.",
                ) from error
        sleep(POLL_S)


def cluster_id(address: str) -> str:
    """Which cluster answers at `address`: each start of a head makes another; empty: none answers.
    Blocks for some seconds where the head is deaf.
    """
    from ray.exceptions import RayError

    raylet = import_module("ray._raylet")
    try:
        found: str = raylet.GcsClient(address=address).cluster_id.hex()
    except (RayError, OSError):
        return ""
    return found


def check_token(address: str) -> None:
    """Ask the cluster's head one thing with the token in force. Blocks up to 40 s where something
    other than Ray listens.

    Raises ConfigError where the head has another token or none, WorkersUnreachableError where it
    does not speak with us.
    """
    from ray.exceptions import AuthenticationError, RayError

    raylet = import_module("ray._raylet")  # compiled: it names nothing that can be checked
    try:
        raylet.GcsClient(address=address).internal_kv_get(b"driftline", None, timeout=10)
    except AuthenticationError as error:
        raise ConfigError(
            f"the Ray cluster at {address} has another token than this machine",
            fix="Give this machine the head's token: copy its file (`driftline cloud cluster"
            " token` prints it there) and name it with --token-file or workers.ray_token_file.",
        ) from error
    except (RayError, OSError) as error:
        raise WorkersUnreachableError(
            f"what listens at {address} does not answer as a Ray cluster does: {error}",
            fix="Name the head's address; with TLS, name the folder of certificates on both sides.",
        ) from error
