"""The operator's pages of a database, on loopback, in a thread."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from driftline_cloud.page.program import show_pages
from driftline_cloud.page.settings import PageSettings


@dataclass(frozen=True)
class Shown:
    """Pages that are served on `port`."""

    port: int

    def get(
        self, path: str, *, method: str = "GET", host: str | None = None
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers in lower case, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers={} if host is None else {"Host": host})
            reply = connection.getresponse()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return reply.status, headers, reply.read().decode()
        finally:
            connection.close()


@contextmanager
def shown_pages(database_url: str, **settings: object) -> Iterator[Shown]:
    """Pages for the block."""
    halt, found = threading.Event(), threading.Event()
    addresses: list[str] = []

    def ready(address: str) -> None:
        addresses.append(address)
        found.set()

    wanted = PageSettings.model_validate({"listen": "127.0.0.1:0", **settings})
    thread = threading.Thread(
        target=show_pages, args=(database_url, wanted, halt), kwargs={"ready": ready}
    )
    thread.start()
    try:
        assert found.wait(20)
        shown = Shown(int(addresses[0].rstrip("/").rpartition(":")[2]))
        yield shown
    finally:
        halt.set()
        thread.join(20)
    assert not thread.is_alive()
