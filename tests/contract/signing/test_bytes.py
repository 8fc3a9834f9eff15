"""What signatures cost as they travel: what docs/trust.md promises."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from driftline_shared.wire import to_signed_state
from tests.fakes.adapters import LINE
from tests.fakes.signing import SigningCloud, ask, new_device

UPDATE_BYTES, POLL_BYTES = 2_048, 400
FORKS = 7


def test_bytes_of_polls_and_updates(tmp_path: Path) -> None:
    cloud = SigningCloud(state=tmp_path / "cloud")
    device = new_device(cloud, tmp_path / "device")
    found = {"first": ask(cloud, device)}
    for _ in range(4):
        cloud.publish(head=b"a head")
    found["update"] = ask(cloud, device)
    assert not device.status.reason
    found["nothing_new"] = ask(cloud, device)
    cloud.ahead_s = 50_000
    cloud.signing.step()
    found["timestamp"] = ask(cloud, device)
    found["asked"] = to_signed_state(device.held()).ByteSize() + 2
    for number in range(FORKS):
        fork = replace(LINE, group=f"g{number}")
        cloud.registry.ensure_fork(fork, LINE.id, 4)
        cloud.sign(fork.id)
    ask(cloud, device)
    cloud.publish(head=b"a head")
    found["update_of_8_lines"] = ask(cloud, device)
    cloud.rotate()
    found["rotated"] = ask(cloud, device)
    assert not device.status.reason
    sys.stdout.write(f"{found}\n")
    assert found["nothing_new"] == 0
    assert found["timestamp"] + found["asked"] <= POLL_BYTES
    assert max(found["update"], found["update_of_8_lines"], found["first"]) <= UPDATE_BYTES
