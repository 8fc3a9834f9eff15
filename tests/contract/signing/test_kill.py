"""What a kill between two writes leaves, of who signs and of who believes, is gone on from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from driftline_cloud.signing import ceremony, publish
from driftline_shared.errors import UpdateError
from tests.fakes.adapters import LINE
from tests.fakes.signing import SigningCloud, ask, new_device


class Killed(BaseException):
    """Nothing catches it, so the disk is as a kill leaves it."""


def _after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, num_calls: int) -> None:
    real, calls = getattr(owner, name), [0]

    def call(*arguments: Any, **options: Any) -> Any:
        if calls[0] == num_calls:
            raise Killed
        calls[0] += 1
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize(
    ("what", "num_writes"),
    [*(("a version", n) for n in range(3)), *(("new keys", n) for n in range(5))],
)
def test_a_cloud_killed_while_it_signs_goes_on_and_devices_follow(
    tmp_path: Path, what: str, num_writes: int
) -> None:
    cloud = SigningCloud(state=tmp_path / "cloud")
    cloud.publish()
    device = new_device(cloud, tmp_path / "device")
    ask(cloud, device)
    manifest = cloud.publish(sign=False)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        owner = publish if what == "a version" or num_writes else ceremony
        _after(patch, owner, "write_metadata", num_writes - (what == "new keys" and num_writes > 0))
        cloud.sign() if what == "a version" else cloud.rotate()
    if what == "new keys" and num_writes == 0:
        cloud.rotate()  # keys were made and no root names them: the command is given again
    cloud.start()
    ask(cloud, device)
    assert not device.status.reason
    device.check(manifest)


@pytest.mark.parametrize("num_writes", range(8))
def test_a_device_killed_while_it_keeps_metadata_believes_nothing_older(
    tmp_path: Path, num_writes: int
) -> None:
    cloud = SigningCloud(state=tmp_path / "cloud")
    old = cloud.publish()
    device = new_device(cloud, tmp_path / "device")
    ask(cloud, device)
    device.check(old)
    manifest = cloud.publish()
    stale = cloud.bundle()
    with pytest.MonkeyPatch.context() as patch:
        _after(patch, os, "replace", num_writes)
        try:
            ask(cloud, device)
            device.check(manifest)
        except Killed:
            pass
    device = new_device(cloud, tmp_path / "device")
    newest = cloud.publish()
    ask(cloud, device)
    device.check(newest)
    device.held()
    device.take(stale)
    with pytest.raises(UpdateError):
        device.check(cloud.registry.manifest(LINE.id, 1))
