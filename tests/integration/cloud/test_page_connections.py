"""What connections that ask nothing cost the operator's pages: nothing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftline_cloud.intake.database import Database
from driftline_cloud.page.http import doors, server
from driftline_cloud.trust.issuer import Role
from driftline_shared.http.server import HttpLimits
from tests.fakes.cloud_pages import shown_pages

pytestmark = pytest.mark.integration

KEY = "the key of this cloud, long enough"
HALF = b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-a: "
BODY = (
    b"POST /enter HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n"
    b"content-type: application/x-www-form-urlencoded\r\n\r\nkey="
)
Opens = Callable[[int, bytes], socket.socket]


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'cloud.sqlite'}"
    Database(url).close()
    return url


@pytest.fixture
def opens() -> Iterator[Opens]:
    """Opens a connection and writes to it; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def opened(port: int, data: bytes) -> socket.socket:
            made = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60.0))
            made.sendall(data)
            return made

        yield opened


def said(connection: socket.socket) -> bytes:
    """What comes until the connection is closed."""
    with contextlib.suppress(ConnectionResetError):
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))
    return b""


@pytest.mark.parametrize("most", [0, 16])
def test_hundreds_that_never_ask_keep_nobody_out(
    url: str, opens: Opens, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Where all have room, and where only the oldest of them make it."""
    monkeypatch.setattr(
        server, "LIMITS", HttpLimits(max_connections=most, header_timeout_s=600, end_timeout_s=1)
    )
    with shown_pages(url, keys={Role.OPERATOR: KEY}, orders=True) as shown:
        for number in range(200):
            opens(shown.port, (b"", HALF, BODY)[number % 3])
            if number % 50 == 49:
                assert shown.get("/rounds")[0] == 200
                assert shown.send("/enter", {"key": KEY, "name": "anna"})[0] == 303


def test_half_a_header_and_half_a_form_are_not_waited_for(
    url: str, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LIMITS", HttpLimits(header_timeout_s=2, end_timeout_s=1))
    monkeypatch.setattr(doors, "FORM_S", 0.2)
    with shown_pages(url, keys={Role.OPERATOR: KEY}, orders=True) as shown:
        begun = [opens(shown.port, some) for some in (BODY, b"", HALF)]
        told = [said(each) for each in begun]
        assert all(each.startswith(b"HTTP/1.1 408 ") for each in told)
        assert b"the form did not arrive within 0.2 s" in told[0]
        assert all(b"no whole header within 2 s" in each for each in told[1:])


def test_what_is_no_http_is_told_so(url: str, opens: Opens) -> None:
    with shown_pages(url) as shown:
        assert said(opens(shown.port, b"hello\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
