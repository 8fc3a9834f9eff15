"""What doctor says of sinks: missing secrets, broken queues, nobody there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from driftline_device.config import load_config
from driftline_device.doctor.sinks import check_sinks
from driftline_device.sinks.outbox import Outbox
from driftline_shared.host.loopback import free_port
from driftline_shared.program.checks import Check
from tests.fakes.clock import FakeClock
from tests.fakes.receiver import Receiver
from tests.unit.device.sinks.test_console import event


def checked(state: Path, *sinks: dict[str, Any]) -> Check:
    return check_sinks(load_config(None, {"state": str(state), "sinks": list(sinks)}, {}))


def test_all_is_well(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.up()
    box = Outbox(
        tmp_path / "sinks" / "webhook.sqlite",
        max_events=9,
        max_bytes=9999,
        clock=FakeClock(),
    )
    box.append(event())
    webhook = {"kind": "webhook", "url": receiver.url}
    file = {"kind": "file", "path": str(tmp_path / "new" / "answers.jsonl")}
    assert checked(tmp_path, webhook, file).verdict == "ok"
    box.close()
    assert checked(tmp_path, webhook, file).verdict == "ok"
    receiver.down()
    assert receiver.num_tries == 0


def test_nobody_there_is_a_warning(tmp_path: Path) -> None:
    for sink in (
        {"kind": "mqtt", "url": f"mqtt://127.0.0.1:{free_port()}"},
        {"kind": "webhook", "url": f"http://127.0.0.1:{free_port()}/"},
        {"kind": "file", "path": str(tmp_path)},
        {"kind": "file", "path": str(tmp_path / "stick" / "answers" / "a.jsonl")},
    ):
        assert checked(tmp_path, sink).verdict == "warn"


def test_a_missing_secret_fails(tmp_path: Path) -> None:
    found = checked(tmp_path, {"kind": "webhook", "url": "http://a/", "secret": "env:NO_SUCH"})
    assert found.verdict == "fail" and "NO_SUCH" in found.found


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(5000), None])
def test_a_broken_queue_fails(tmp_path: Path, content: bytes | None) -> None:
    queue = tmp_path / "sinks" / "file.sqlite"
    queue.parent.mkdir()
    if content is None:
        queue.mkdir()
    else:
        queue.write_bytes(content)
    found = checked(tmp_path, {"kind": "file", "path": str(tmp_path / "answers.jsonl")})
    assert found.verdict == "fail" and str(queue) in found.found and found.fix
