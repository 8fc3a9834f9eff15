"""This process as a driver of a Ray cluster: joined to one that is there, or one started here."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import structlog

from driftline_cloud.workers.cluster.access import (
    Access,
    driver_variables,
    in_force,
    is_loopback,
    local_variables,
    loopback_kept,
)
from driftline_cloud.workers.cluster.reach import check_token, cluster_id, parts_of, wait_for_port
from driftline_cloud.workers.cluster.secret import token_place
from driftline_cloud.workers.cluster.sessions import OBJECT_STORE_BYTES, session_folder
from driftline_cloud.workers.workers import WorkersUnreachableError
from driftline_shared.host.processors import num_processors

_log = structlog.get_logger(__name__)

START_TRIES = 2
"""Ray gives its own processes half a minute to come up, which a busy machine may exceed once."""

REACH_S = 20.0
"""Seconds for the head of a cluster to answer, and again for a node beside this process."""


LOST_S = 20.0
"""Seconds without the head after which the cluster counts as gone."""

ASK_S = 5.0
"""Seconds between two questions to the head which cluster it is of."""


class Connection:
    """To the cluster at `address`, the one this process is in already, or one started here."""

    def __init__(self, address: str | None, access: Access | None) -> None:
        self._address = address
        self._access = access
        self._open = ExitStack()
        self._head = ""
        self._cluster = ""
        self._silent_since: float | None = None
        self._last_look = self._last_asked = 0.0

    def open(self) -> None:
        """Connect where there is no connection. Raises WorkersUnreachableError within a minute
        where no cluster answers or no node of it runs beside this process, ConfigError where the
        token is another.
        """
        import ray

        if ray.is_initialized():
            if not self._head:
                self._know()
            return
        with ExitStack() as undo:
            if self._address is None:
                _start(undo)
            else:
                _join(self._address, self._access or Access(token=token_place(None)), undo)
            undo.callback(ray.shutdown)
            self._open = undo.pop_all()
        self._know()
        _log.info("ray.connected", address=self._address or "local")

    def close(self) -> None:
        """Leave the cluster, where this opened it."""
        self._head = ""
        self._open.close()

    def check(self) -> None:
        """Look whether the head is there, at most once a second; WorkersUnreachableError when it
        was not for `LOST_S`, or was started anew: it then knows nothing of this process and its
        actors. Ray itself waits without a word, and then ends the process.
        """
        now = time.monotonic()
        if now - self._last_look < 1.0:
            return
        self._last_look = now
        try:
            wait_for_port(self._head, within_s=0.0)
        except WorkersUnreachableError:
            self._silent_since = self._silent_since or now
            if now - self._silent_since >= LOST_S:
                raise
            return
        if self._silent_since is not None or now - self._last_asked >= ASK_S:
            self._last_asked = now
            found = cluster_id(self._head)
            if found and found != self._cluster:
                raise WorkersUnreachableError(
                    f"the head of the Ray cluster at {self._head} was started anew",
                    fix="Nothing is to be done: its nodes join it again, and the work goes on.",
                )
        self._silent_since = None

    def _know(self) -> None:
        import ray

        self._head = ray.get_runtime_context().gcs_address
        self._cluster = cluster_id(self._head)
        self._silent_since = None


def _start(undo: ExitStack) -> None:
    import ray

    undo.enter_context(in_force(local_variables()))
    for left in reversed(range(START_TRIES)):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                num_cpus=num_processors(),
                _temp_dir=session_folder(),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as error:  # of any kind, when one of Ray's processes is late
            ray.shutdown()
            if not left:
                raise
            _log.warning("ray.start_failed", error=str(error), tries_left=left)


def _join(address: str, access: Access, undo: ExitStack) -> None:
    import ray

    undo.enter_context(in_force(driver_variables(access)))
    wait_for_port(address, within_s=REACH_S)
    check_token(address)
    _check_node(address)
    kept: Any = loopback_kept() if is_loopback(parts_of(address)[0]) else nullcontext()
    with kept:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError) as error:
            ray.shutdown()
            raise WorkersUnreachableError(
                f"the Ray cluster at {address} does not take this process in: {error}",
                fix="Look at the head's and this machine's node; it is tried again.",
            ) from error


def _check_node(address: str) -> None:
    """A driver needs a node of the cluster on its machine; Ray would look for one for a minute."""
    from ray._private.services import find_node_ids

    until = time.monotonic() + REACH_S
    while not find_node_ids():
        if time.monotonic() >= until:
            raise WorkersUnreachableError(
                f"no node of the Ray cluster at {address} runs on this machine",
                fix=f"Start one beside this process: driftline cloud cluster join {address}"
                " --cpus 0",
            )
        time.sleep(0.5)


@contextmanager
def quiet() -> Iterator[None]:
    """Ray warns about its own deprecated parts; its users can do nothing about them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
