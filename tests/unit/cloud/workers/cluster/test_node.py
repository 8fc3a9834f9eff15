"""Ray's command for a node, and what becomes of its end."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

import pytest

from driftline_cloud.workers.cluster import node
from driftline_cloud.workers.cluster.access import Access
from driftline_cloud.workers.cluster.reach import wait_for_port
from driftline_cloud.workers.cluster.secret import token_place
from driftline_cloud.workers.workers import WorkersUnreachableError
from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.host.loopback import free_port

SIZE = node.Size(cpus=0, gpus=1, object_store_bytes=80 << 20)


def test_a_head_listens_where_it_is_told_and_shows_no_dashboard() -> None:
    port = free_port()
    command = node.head_command(f"127.0.0.1:{port}", SIZE)
    assert {"--head", f"--port={port}", "--node-ip-address=127.0.0.1"} <= set(command)
    assert {"--include-dashboard=false", "--num-cpus=0", "--num-gpus=1", "--block"} <= set(command)
    everywhere = node.head_command(f"0.0.0.0:{port}", SIZE)
    assert not any(word.startswith("--node-ip-address") for word in everywhere)


def test_an_address_in_use_is_refused_before_ray_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        listen = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match="in use"):
            node.head_command(listen, SIZE)


def test_a_node_of_loopback_stays_on_it() -> None:
    assert "--node-ip-address=127.0.0.1" in node.node_command("127.0.0.1:1", SIZE)
    other = node.node_command("10.0.0.5:6379", SIZE)
    assert not any(word.startswith("--node-ip-address") for word in other)


def test_no_cluster_is_said_in_time() -> None:
    times = iter(range(100))
    with pytest.raises(WorkersUnreachableError, match="refused"):
        wait_for_port(
            f"127.0.0.1:{free_port()}", within_s=5, sleep=lambda _: None, now=lambda: next(times)
        )
    assert next(times) < 10


@pytest.fixture
def access(monkeypatch: pytest.MonkeyPatch) -> Access:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef")
    return Access(token=token_place(None))


def test_a_node_that_ends_by_itself_is_an_error_with_its_reason(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    _say_instead(monkeypatch, "print('This will now block'); raise ValueError('no room')")
    ready: list[str] = []
    with pytest.raises(DriftlineError, match=r"code 1: ValueError: no room"):
        node.run_node([], access, lambda: ready.append("once"))
    assert ready == ["once"]


def test_a_child_that_is_deaf_to_sigterm_is_killed_after_its_time(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "GRACE_S", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    code = deaf + "print('This will now block', flush=True); time.sleep(600)"
    started = _say_instead(monkeypatch, code)
    node.run_node([], access, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert [each.returncode for each in started] == [-signal.SIGKILL]


def _say_instead(monkeypatch: pytest.MonkeyPatch, code: str) -> list[Any]:
    """Instead of Ray's command: an interpreter that runs `code`; the processes, as they start."""
    real, started = node.subprocess.Popen, []

    def start(program: list[str], **how: object) -> object:
        assert program[0] == sys.executable
        started.append(real([sys.executable, "-c", code], **how))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(node.subprocess, "Popen", start)
    return started
