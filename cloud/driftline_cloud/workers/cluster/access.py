"""What lets a process into a cluster: variables that Ray reads, for its own processes and for ours.

Token authentication is always on here: Ray switches it on or not by what lies in a home folder,
and a head with it refuses nodes without. TLS is asked for by a folder with three files, called as
Kubernetes calls them.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftline_cloud.workers.cluster.secret import (
    IN_ENVIRONMENT,
    PATH_IN_ENVIRONMENT,
    TokenPlace,
    read_token,
)
from driftline_shared.errors import ConfigError

MODE = "RAY_AUTH_MODE"

NICENESS = "RAY_worker_niceness"

TRAINING = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # It is told before a spot node goes; a checkpoint that is seconds old needs no warning.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
"""How Ray Train looks after its worker: a run that ended is seen at once, by one process less."""

TLS_FILES = {
    "RAY_TLS_CA_CERT": "ca.crt",
    "RAY_TLS_SERVER_CERT": "tls.crt",
    "RAY_TLS_SERVER_KEY": "tls.key",
}
"""Each node's certificate is its server's and its client's: it names the node's address."""

Variables = dict[str, str | None]
"""Environment variables to set; None: to take away."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a process gets into a cluster. `tls`: the folder of its certificates; None: no TLS."""

    token: TokenPlace
    tls: Path | None = None

    def variables(self, environment: Mapping[str, str] = os.environ) -> Variables:
        """What Ray reads. Raises ConfigError where token or certificates are not there."""
        read_token(self.token, environment)
        return {MODE: "token", **self.token.environment(), **_tls_variables(self.tls)}


def driver_variables(access: Access) -> Variables:
    """For a process of ours that joins: errors are told by us, and waits are bounded."""
    return {
        **access.variables(),
        **TRAINING,
        "RAY_BACKEND_LOG_LEVEL": "fatal",
        "RAY_gcs_server_request_timeout_seconds": "20",
        # Ray would end this process then; `Connection.check` says it instead.
        "RAY_gcs_rpc_server_reconnect_timeout_s": "86400",
    }


def local_variables(environment: Mapping[str, str] = os.environ) -> Variables:
    """For a cluster of this process alone: a token that is kept nowhere, unless the environment
    says how nodes are let in.
    """
    found: Variables = {**work_variables(environment), **TRAINING}
    if any(environment.get(name) for name in (MODE, IN_ENVIRONMENT, PATH_IN_ENVIRONMENT)):
        return found
    return {**found, MODE: "token", IN_ENVIRONMENT: secrets.token_hex(32)}


def work_variables(environment: Mapping[str, str] = os.environ) -> Variables:
    """For nodes: work runs at the priority of every other program. Ray would give it the least but
    four, and on a busy machine it then stands nearly still.
    """
    return {NICENESS: environment.get(NICENESS, "0")}


@contextmanager
def in_force(
    variables: Variables, environment: MutableMapping[str, str] = os.environ
) -> Iterator[None]:
    """The variables hold meanwhile, also for a Ray that is imported already."""
    before = {name: environment.get(name) for name in variables}
    _set(variables, environment)
    try:
        yield
    finally:
        _set(before, environment)


def _set(variables: Variables, environment: MutableMapping[str, str]) -> None:
    for name, value in variables.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    # Ray reads them when it is imported, and keeps what it read.
    if (raylet := sys.modules.get("ray._raylet")) is not None:
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def _tls_variables(folder: Path | None) -> Variables:
    if folder is None:
        return {}
    files = {name: (folder / file).absolute() for name, file in TLS_FILES.items()}
    lacking = [file.name for file in files.values() if not os.access(file, os.R_OK)]
    if lacking:
        raise ConfigError(
            f"{', '.join(lacking)} cannot be read in {folder}: TLS of a cluster needs"
            f" {', '.join(TLS_FILES.values())}",
            fix="Make a certificate for each node, signed by one authority (docs/operations.md).",
        )
    return {"RAY_USE_TLS": "1", **{name: str(file) for name, file in files.items()}}


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine and no other."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextmanager
def loopback_kept() -> Iterator[None]:
    """An address of loopback stays what it is: Ray takes it for this machine's outer one, where
    nothing listens.
    """
    from ray._private import services

    def as_it_is(host: str) -> str:
        return host

    was: Callable[[str], str] = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = as_it_is
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = was
