"""What the service manager is told, over a real datagram socket."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline_device.daemon.systemd import Notifier, notifier_of
from tests.fakes.clock import FakeClock
from tests.fakes.service_manager import ServiceManager, service_manager
from tests.fakes.waiting import until


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    # Addresses of sockets are short: pytest's folders may be too deep.
    with tempfile.TemporaryDirectory() as folder, service_manager(Path(folder)) as running:
        yield running


def test_each_word_is_one_datagram(manager: ServiceManager) -> None:
    notifier = Notifier(manager.address)
    notifier.ready()
    notifier.reloading()
    notifier.status("two\nlines")
    notifier.status("two lines")
    notifier.stopping(1.5)
    until(lambda: manager.count("STOPPING=1") == 1)
    ready, reloading, status, stopping = manager.told
    assert ready == {"READY": "1"}
    assert reloading["RELOADING"] == "1"
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert status == {"STATUS": "two lines"}
    assert stopping == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "1500000"}


def test_beats_are_sent_a_few_times_within_the_watchdogs_time(manager: ServiceManager) -> None:
    clock = FakeClock()
    notifier = Notifier(manager.address, watchdog_s=8.0, monotonic_s=clock.monotonic_s)
    for _ in range(80):
        notifier.beat()
        clock.advance(0.1)
    notifier.ready()
    until(lambda: manager.count("READY=1") == 1)
    assert manager.count("WATCHDOG=1") == 4


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "1000000"}, 1),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "77"}, 1),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "78"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_the_watchdog_is_that_of_this_process(
    manager: ServiceManager, extra: dict[str, str], expected: int
) -> None:
    notifier = notifier_of({"NOTIFY_SOCKET": manager.address, **extra}, pid=77)
    notifier.beat()
    notifier.beat()
    notifier.ready()
    until(lambda: manager.count("READY=1") == 1)
    assert manager.count("WATCHDOG=1") == expected


def test_an_abstract_socket_is_reached() -> None:
    import socket

    name = f"driftline-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        Notifier("@" + name).ready()
        assert listening.recv(100) == b"READY=1"


def test_without_a_manager_nothing_happens() -> None:
    notifier = notifier_of({})
    notifier.ready()
    notifier.beat()


def test_a_manager_that_is_gone_is_logged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notifier = Notifier(str(tmp_path / "gone"), watchdog_s=1e-9)
    notifier.ready()
    notifier.beat()
    notifier.beat()
    assert capsys.readouterr().out.count("notify.failed") == 1
