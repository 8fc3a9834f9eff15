"""The operator's pages of a database, on loopback, in a thread."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

from driftline_cloud.page.program import show_pages
from driftline_cloud.page.settings import PageSettings
from driftline_cloud.trust.issuer import Role


@dataclass(frozen=True)
class Shown:
    """Pages that are served on `port`."""

    port: int

    def get(
        self,
        path: str,
        *,
        method: str = "GET",
        host: str | None = None,
        cookie: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers in lower case, body."""
        given = {"Host": host, "Cookie": cookie, **(headers or {})}
        return self._ask(method, path, {name: value for name, value in given.items() if value})

    def send(
        self, path: str, form: Mapping[str, str] | bytes, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Send a form, or the bytes of one."""
        body = form if isinstance(form, bytes) else urlencode(form).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        written = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._ask("POST", path, {**kind, **written}, body)

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers=dict(headers))
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return reply.status, found, reply.read().decode()
        finally:
            connection.close()


@contextmanager
def shown_pages(
    database_url: str, *, keys: Mapping[Role, str] | None = None, **settings: object
) -> Iterator[Shown]:
    """Pages for the block."""
    halt, found = threading.Event(), threading.Event()
    addresses: list[str] = []

    def ready(address: str) -> None:
        addresses.append(address)
        found.set()

    wanted = PageSettings.model_validate({"listen": "127.0.0.1:0", **settings})
    thread = threading.Thread(
        target=show_pages, args=(database_url, wanted, halt), kwargs={"ready": ready, "keys": keys}
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
