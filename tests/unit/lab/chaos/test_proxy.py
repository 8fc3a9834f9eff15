"""The link that breaks on order, between a client and a server that says everything again."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from driftline_lab.chaos.proxy import Proxy, Weather

WAIT_S = 60.0


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        proxy = Proxy(server.server_address[1], seed=0)
        proxy.start()
        yield proxy
        proxy.stop()
        server.shutdown()
        thread.join()


def _connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S)


def _read(client: socket.socket, num: int) -> bytes:
    found = b""
    while len(found) < num and (piece := client.recv(num - len(found))):
        found += piece
    return found


def _is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_fair_weather_changes_nothing(proxy: Proxy) -> None:
    data = bytes(range(256)) * 400
    with _connect(proxy) as client:
        client.sendall(data)
        assert _read(client, len(data)) == data


@pytest.mark.parametrize("weather", [Weather.CUT, Weather.REFUSE])
def test_what_is_open_is_cut(proxy: Proxy, weather: Weather) -> None:
    with _connect(proxy) as client:
        client.sendall(b"a")
        assert _read(client, 1) == b"a"
        proxy.set(weather)
        assert _is_closed(client)
    with _connect(proxy) as client:
        client.sendall(b"a")
        assert _is_closed(client) == (weather is Weather.REFUSE) or _read(client, 1) == b"a"


def test_a_link_that_stalls_goes_on(proxy: Proxy) -> None:
    with _connect(proxy) as client:
        proxy.set(Weather.STALL)
        client.sendall(b"a")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(WAIT_S)
        proxy.set(Weather.FAIR)
        assert _read(client, 1) == b"a"


def test_what_was_swallowed_does_not_come_later(proxy: Proxy) -> None:
    with _connect(proxy) as client:
        client.sendall(b"a")
        assert _read(client, 1) == b"a"
        proxy.set(Weather.MUTE)
        client.sendall(b"b")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(WAIT_S)
        proxy.set(Weather.FAIR)
        assert _is_closed(client)


@pytest.mark.parametrize(
    "weather", [Weather.LOSE, Weather.REORDER, Weather.DUPLICATE, Weather.SPOIL]
)
def test_bad_weather_changes_what_comes_through(proxy: Proxy, weather: Weather) -> None:
    proxy.set(weather)
    for number in range(200):
        sent = number.to_bytes(4, "big")
        with _connect(proxy) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            found = _read(client, 100)
        if found != sent:
            return
    raise AssertionError("nothing was changed")
