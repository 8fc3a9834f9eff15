"""The daemon's status for systemd: datagrams on the socket that NOTIFY_SOCKET names (sd_notify).

    READY=1      state is recovered, questions are answered
    RELOADING=1  settings are read anew (with MONOTONIC_USEC); READY=1 follows
    STOPPING=1   reading has ended, samples drain
    WATCHDOG=1   the loop that answers has come round; it is restarted if that stops
    STATUS=...   one line for `systemctl status`

The protocol is a datagram of lines, so no library is needed. Without a socket nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

import structlog

BEATS_PER_WATCHDOG = 4
"""Beats sent within the time that systemd allows between two."""

SEND_TIMEOUT_S = 1.0
"""Longest wait for a supervisor that does not read."""

_log = structlog.get_logger(__name__)


class Notifier:
    """Sends to `address` (a path, or @name for an abstract socket); an empty one sends nothing.

    `watchdog_s`: longest time that may pass between two beats; 0: nobody waits for any.
    """

    def __init__(
        self,
        address: str = "",
        *,
        watchdog_s: float = 0.0,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval_s = watchdog_s / BEATS_PER_WATCHDOG
        self._monotonic_s = monotonic_s
        self._beat_due_s = 0.0
        self._status = ""
        self._failed = False

    def ready(self) -> None:
        """The daemon works; also the end of `reloading`."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Settings are being read anew; `ready` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def stopping(self, within_s: float) -> None:
        """The daemon ends, and asks for `within_s` seconds to do so."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within_s * 1e6)}")

    def beat(self) -> None:
        """The loop has come round; sent as often as the watchdog needs, however often called."""
        now_s = self._monotonic_s()
        if self._interval_s and now_s >= self._beat_due_s:
            self._beat_due_s = now_s + self._interval_s
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for people, sent when it has changed."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def _send(self, *lines: str) -> None:
        """A supervisor that cannot be reached must not stop the device: logged once per outage."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(SEND_TIMEOUT_S)
                out.sendto("\n".join(lines).encode(), self._address)
            self._failed = False
        except OSError as error:
            if not self._failed:
                _log.warning("notify.failed", address=self._address, error=str(error))
            self._failed = True


def notifier_of(environment: Mapping[str, str], *, pid: int | None = None) -> Notifier:
    """The notifier that systemd's variables ask for; one that sends nothing if there are none.

    WATCHDOG_USEC counts only where WATCHDOG_PID names this process or is absent.
    """
    watched = environment.get("WATCHDOG_PID") in (None, str(pid or os.getpid()))
    usec = environment.get("WATCHDOG_USEC", "")
    watchdog_s = int(usec) / 1e6 if watched and usec.isdecimal() else 0.0
    return Notifier(environment.get("NOTIFY_SOCKET", ""), watchdog_s=watchdog_s)
