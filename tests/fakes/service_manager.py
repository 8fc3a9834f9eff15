"""The receiving end of NOTIFY_SOCKET: a real datagram socket that keeps what it was told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ServiceManager:
    """`told`: datagrams in order of arrival, each as its lines by name."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.told: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._thread = threading.Thread(target=self._listen)

    def count(self, line: str) -> int:
        """How often `line`, say READY=1, was told."""
        name, _, value = line.partition("=")
        return sum(each.get(name) == value for each in self.told)

    def of(self, name: str) -> list[str]:
        """Every value told under `name`, in order."""
        return [each[name] for each in self.told if name in each]

    def _listen(self) -> None:
        while data := self._socket.recv(65_536):
            lines = data.decode().split("\n")
            self.told.append(dict(line.split("=", 1) for line in lines))


@contextmanager
def service_manager(folder: Path) -> Iterator[ServiceManager]:
    """One that listens as long as the block lasts, on a socket in `folder`, whose path is short."""
    manager = ServiceManager(folder / "notify")
    manager._thread.start()
    try:
        yield manager
    finally:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(b"", manager.address)
        manager._thread.join(10.0)
        manager._socket.close()
