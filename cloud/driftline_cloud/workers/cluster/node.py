"""One node of a cluster, in the foreground: Ray's processes live as long as this one does.

Whatever ends it ends them: SIGTERM and Ctrl-C are handed on, and where this process is killed its
end of a pipe closes, which Ray's command watches (`ray_command`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import structlog

from driftline_cloud.workers.cluster.access import Access, Variables, is_loopback, work_variables
from driftline_cloud.workers.cluster.reach import parts_of
from driftline_cloud.workers.cluster.sessions import OBJECT_STORE_BYTES, session_folder
from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.host.processors import num_processors

_log = structlog.get_logger(__name__)

EVERYWHERE = ("0.0.0.0", "::")
"""Hosts that are every address of this machine; Ray names a node by one of them and chooses it."""

READY_WORDS = "now block"
"""In the line that Ray's command says when the node is up."""

START_TRIES = 3
"""Ray gives its own processes half a minute to come up, which a busy machine may exceed."""

SLOW_WORDS = "timed out during startup"
"""In what Ray's command says then."""

GRACE_S = 20.0
"""For Ray's processes to end by themselves."""

_KEPT_LINES = 30


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a node offers. `cpus`: None: its processors; 0: none, it only holds state or a driver.

    `gpus`: None: those that Ray finds.
    """

    cpus: int | None = None
    gpus: int | None = None
    object_store_bytes: int = OBJECT_STORE_BYTES

    def arguments(self) -> list[str]:
        """For Ray's command."""
        cpus = num_processors() if self.cpus is None else self.cpus
        given = [f"--num-cpus={cpus}", f"--object-store-memory={self.object_store_bytes}"]
        return given if self.gpus is None else [*given, f"--num-gpus={self.gpus}"]


def head_command(listen: str, size: Size) -> list[str]:
    """Ray's command for the head that listens at host:port. ConfigError where it cannot."""
    host, port = parts_of(listen)
    number = _number_of(host, listen)
    if number is not None:
        _check_free(number, port, listen)
    return [
        "start", "--head", f"--port={port}",
        *([] if number is None else [f"--node-ip-address={number}"]),
        # It runs any code that is sent to it, and nobody here needs it.
        "--include-dashboard=false", "--dashboard-host=127.0.0.1",
        *size.arguments(), *_rest(),
    ]  # fmt: skip


def node_command(address: str, size: Size) -> list[str]:
    """Ray's command for a node that joins the head at `address`."""
    host, _ = parts_of(address)
    own = ["--node-ip-address=127.0.0.1"] if is_loopback(host) else []
    return ["start", f"--address={address}", *own, *size.arguments(), *_rest()]


def run_node(command: list[str], access: Access, ready: Callable[[], None]) -> None:
    """Run Ray's command until a signal ends it; `ready` is called once, when the node is up.

    Raises DriftlineError with Ray's last words where it ends by itself.
    """
    environment = _environment({**access.variables(), **work_variables()})
    for left in reversed(range(START_TRIES)):
        code, last, was_up = _run_once(command, environment, ready)
        if code is None:
            return
        if was_up or not left or SLOW_WORDS not in last:
            break
        _log.warning("cluster.start_failed", error=last, tries_left=left)
    raise DriftlineError(
        f"the node of the Ray cluster ended with code {code}: {last}",
        fix="Its session folder holds the logs; start it again, the cluster takes it back.",
    )


def _run_once(
    command: list[str], environment: dict[str, str], ready: Callable[[], None]
) -> tuple[int | None, str, bool]:
    """(exit code, None: a signal was handed on; what was said last; whether the node was up)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "driftline_cloud.workers.cluster.ray_command", *command],
        env=environment,
        stdin=subprocess.PIPE,  # never written: its end is the end of this process
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process alone
    )
    said: deque[str] = deque(maxlen=_KEPT_LINES)
    was_up = threading.Event()

    def up() -> None:
        was_up.set()
        ready()

    reader = threading.Thread(target=_read, args=(process, said, up), daemon=True)
    reader.start()
    with _handed_on(process) as asked:
        process.wait()
    _end_group(process)
    reader.join(5.0)
    assert process.stdin is not None
    process.stdin.close()
    lines = [line.strip() for line in list(said) if line.strip()] or ["it said nothing"]
    last = next((line for line in reversed(lines) if "Error" in line or SLOW_WORDS in line), None)
    return None if asked.is_set() else process.returncode, last or lines[-1], was_up.is_set()


def _environment(variables: Variables) -> dict[str, str]:
    merged = {**os.environ, **variables, "PYTHONUNBUFFERED": "1"}
    return {name: value for name, value in merged.items() if value is not None}


def _rest() -> list[str]:
    folder = session_folder()
    own = [] if folder is None else [f"--temp-dir={folder}"]
    return [*own, "--disable-usage-stats", "--block"]


def _read(process: subprocess.Popen[str], said: deque[str], ready: Callable[[], None]) -> None:
    assert process.stdout is not None
    told = False
    with process.stdout as lines:
        for line in lines:
            said.append(line)
            if READY_WORDS in line and not told:
                told = True
                ready()


@contextmanager
def _handed_on(process: subprocess.Popen[str]) -> Iterator[threading.Event]:
    """SIGTERM and SIGINT end `process`; the event says that one came. The second one kills."""
    asked = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            process.kill()
        else:
            asked.set()
            process.terminate()
            timer = threading.Timer(GRACE_S, process.kill)
            timer.daemon = True
            timer.start()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_group(process: subprocess.Popen[str]) -> None:
    """What Ray's command left behind, if it was killed."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _number_of(host: str, listen: str) -> str | None:
    """The host as a number, as Ray needs it; None for every address."""
    if host in EVERYWHERE:
        return None
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ConfigError(
            f"--listen {listen}: {host} is no address of this machine: {error.strerror}",
            fix="Name an address of this machine, or 0.0.0.0 for all of them.",
        ) from error


def _check_free(host: str, port: int, listen: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"--listen {listen} cannot be listened at: {error.strerror}",
                fix="Stop what runs there, or name another address of this machine or another"
                " port.",
            ) from error
