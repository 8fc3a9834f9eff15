"""What many connections, or slow ones, cost the others: real sockets, a real process."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from driftline_shared.host.loopback import free_port
from driftline_shared.http import connection
from driftline_shared.http.acceptor import MOST_UNMADE
from tests.fakes.api_device import Running, TalkingRuntime, request, running_device
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration

HALF = b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-a: "
SLOW = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n"
    b"content-type: application/json\r\n\r\n{"
)


@pytest.fixture
def opened(tmp_path: Path, pair_dir: Path, runtime: TalkingRuntime) -> Callable[..., Any]:
    return lambda **overrides: running_device(tmp_path / "state", pair_dir, runtime, **overrides)


@pytest.fixture
def sockets() -> Iterator[Callable[[int, bytes], socket.socket]]:
    """Opens a connection and writes to it; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def made(port: int, data: bytes) -> socket.socket:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30.0))
            connection.sendall(data)
            return connection

        yield made


def rest(connection: socket.socket) -> bytes:
    """What is still said, until the connection is closed."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 16):
            said += chunk
    return said


def test_half_a_header_is_not_waited_for(opened: Any, sockets: Any) -> None:
    with opened(**{"api.header_timeout_s": 0.2}) as device:
        assert rest(sockets(device.port, HALF)).startswith(b"HTTP/1.1 408 ")
        assert rest(sockets(device.port, b"")).startswith(b"HTTP/1.1 408 ")
        second = sockets(device.port, HALF + b"b\r\n\r\n" + HALF)  # the next one on the same
        assert rest(second).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_nobody_reads_is_not_waited_for(opened: Any, sockets: Any) -> None:
    """A GET with a body is answered at once; each byte of it used to put off the end for ever."""
    with opened(**{"api.header_timeout_s": 0.3}) as device:
        body = sockets(device.port, HALF + b"b\r\ncontent-length: 1000\r\n\r\n{")
        body.settimeout(0.05)
        said = b""
        for _ in range(200):
            try:
                body.sendall(b"x")
                chunk = body.recv(1 << 16)
                if not chunk:
                    break
                said += chunk
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("it is still open")
        assert said.startswith(b"HTTP/1.1 200 ")


def test_who_waits_longest_without_a_request_makes_room(opened: Any, sockets: Any) -> None:
    with opened(**{"api.max_connections": 4}) as device:
        waiting = [sockets(device.port, HALF) for _ in range(4)]
        assert device.send("GET", "/health")[0] == 200
        assert rest(waiting[0]) == b""
        waiting[3].sendall(b"b\r\nconnection: close\r\n\r\n")
        assert rest(waiting[3]).startswith(b"HTTP/1.1 200 ")


def test_where_all_get_answers_one_more_is_told_so(
    opened: Any, sockets: Any, runtime: TalkingRuntime
) -> None:
    runtime.go.clear()
    with opened(**{"api.max_connections": 1}) as device, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(device.ask, request())
        assert runtime.waiting.wait(30.0)
        refused = rest(sockets(device.port, b""))
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"]["code"] == (
            "too_many_connections"
        )
        runtime.go.set()
        assert asked.result()[0] == 200


def test_bodies_that_stand_still_take_nobodys_place(opened: Any, sockets: Any) -> None:
    with opened(**{"api.max_waiting": 0, "api.body_timeout_s": 2.0}) as device:
        slow = [sockets(device.port, SLOW) for _ in range(9)]
        assert [device.ask(request())[0] for _ in range(3)] == [200] * 3
        assert all(rest(each).startswith(b"HTTP/1.1 408 ") for each in slow)


def test_what_is_no_http_is_refused_in_one_shape(opened: Any, sockets: Any) -> None:
    with opened() as device:
        for nonsense in (
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"hello\r\n\r\n",
        ):
            said = rest(sockets(device.port, nonsense + b"\r\n\r\n"))
            assert said.startswith(b"HTTP/1.1 400 ")
            assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"
        chunked = SLOW.replace(b"content-length: 1000", b"transfer-encoding: chunked")
        assert rest(sockets(device.port, chunked + b"no size\r\n")).startswith(b"HTTP/1.1 400 ")
        assert device.send("GET", "/health")[0] == 200


CHILD = """
import contextlib, resource, sys
from pathlib import Path
from tests.fakes.api_device import TalkingRuntime, running_device
resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
state, pair, port = sys.argv[1:]
at_port = {"api.port": int(port)}
with (
    contextlib.redirect_stdout(sys.stderr),
    running_device(Path(state), Path(pair), TalkingRuntime(), **at_port),
):
    print("ready", file=sys.__stdout__, flush=True)
    sys.stdin.read()
"""


def test_hundreds_of_half_open_connections_under_a_small_limit_of_files(
    tmp_path: Path, pair_dir: Path, sockets: Any
) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "state"), str(pair_dir), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        device = Running(daemon=None, port=port)  # type: ignore[arg-type]
        files = Path(f"/proc/{process.pid}/fd")
        num_before = len([*files.iterdir()])
        seen: list[tuple[int, int]] = []
        for number in range(400):
            sockets(port, HALF)
            if number % 50 == 0:
                seen.append((device.send("GET", "/health")[0], device.ask(request())[0]))
        assert seen == [(200, 200)] * 8
        # 48 connections, and as many as may be on their way in and out.
        assert len([*files.iterdir()]) <= num_before + 48 + 2 * MOST_UNMADE
    finally:
        _, log = process.communicate(b"", timeout=60)
    assert process.returncode == 0, log.decode()
    others = [line for line in log.splitlines() if b"api.request" not in line]
    assert len(others) < 10, log.decode()


def test_who_reads_nothing_is_cut_off(
    opened: Any, sockets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers would wait in memory, and its connection stay open, for ever."""
    monkeypatch.setattr(connection, "WRITE_TIMEOUT_S", 0.3)
    asked = b"GET /docs HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with opened(**{"api.max_connections": 1}) as device:
        deaf = sockets(device.port, b"")
        deaf.settimeout(0.2)
        with contextlib.suppress(OSError):  # until the server takes no more, or is gone
            for _ in range(5_000):
                deaf.sendall(asked * 100)
        # One that gets an answer is never sent away: there is room once it was cut off.
        until(lambda: _answers(device), 60.0)


def _answers(device: Running) -> bool:
    with contextlib.suppress(OSError, HTTPException):
        return device.send("GET", "/health")[0] == 200
    return False
