"""What a kill between two writes leaves, of who signs and of who believes, is gone on from."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata

from driftline_cloud.signing import ceremony
from driftline_cloud.signing.files import SigningFiles
from driftline_cloud.signing.whole import trouble
from driftline_shared.errors import UpdateError
from tests.fakes.adapters import LINE
from tests.fakes.killing import KILL, Killed, killed_at
from tests.fakes.signing import SigningCloud, ask, new_device

OTHER = replace(LINE, group="g")


def _after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, num_calls: int) -> None:
    real, calls = getattr(owner, name), [0]

    def call(*arguments: Any, **options: Any) -> Any:
        if calls[0] == num_calls:
            raise Killed
        calls[0] += 1
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


def _rotate(cloud: SigningCloud, root_keys: Path) -> None:
    ceremony.rotate(cloud.state, root_keys, now_s=cloud.now_s(), timestamp_days=1)


def _renew(cloud: SigningCloud, root_keys: Path) -> None:
    ceremony.renew(cloud.state, root_keys, now_s=cloud.now_s())


def _replace(cloud: SigningCloud, root_keys: Path) -> None:
    ids = [one.public_key.keyid for one in ceremony.signers_in(root_keys)]
    root = Metadata.from_bytes(SigningFiles(cloud.state).root(1).read_bytes()).signed
    (lost,) = set(root.roles["root"].keyids) - set(ids[:2])
    out = root_keys.parent / "new.key"
    ceremony.replace_root_key(cloud.state, root_keys, lost, out, now_s=cloud.now_s())


def _withdraw(cloud: SigningCloud, root_keys: Path) -> None:
    cloud.signing.withdraw(OTHER.id)
    assert not cloud.signing.trouble


def _sign(cloud: SigningCloud, root_keys: Path) -> None:
    cloud.sign()


@pytest.mark.parametrize("work", [_rotate, _renew, _replace, _withdraw, _sign])
def test_a_kill_at_any_write_needs_no_root_keys_and_devices_follow(
    tmp_path: Path, work: Callable[[SigningCloud, Path], None]
) -> None:
    before = SigningCloud(state=tmp_path / "cloud")
    before.publish()
    before.registry.ensure_fork(OTHER, LINE.id, 1)
    before.signing.ensure(OTHER.id, newest=1, settled=1)
    kept, first = tmp_path / "safe", new_device(before, tmp_path / "device")
    ask(before, first)
    manifest = before.publish(sign=False)
    SigningFiles(before.state).offline.rename(kept)
    (kept / "root-3.key").unlink()
    for num_writes in itertools.count():
        here = tmp_path / str(num_writes)
        cloud = before.copy(here / "cloud", sign=False)
        root_keys = Path(shutil.copytree(kept, here / "safe"))
        with killed_at(num_writes) as writes:
            work(cloud, root_keys)
        root_keys.rename(here / "away")
        if num_writes % 2:
            cloud.signing.step()  # who serves goes on
            cloud.sign()
        else:
            cloud.start()
            assert not list((cloud.state / "trust").rglob("*.next")), writes
        assert not cloud.signing.trouble, writes
        shutil.copytree(tmp_path / "device", here / "device")
        device = new_device(before, here / "device")
        ask(cloud, device)
        assert not device.status.reason, writes
        device.check(manifest)
        work(cloud, (here / "away").rename(root_keys))  # the command again
        cloud.start()
        assert not cloud.signing.trouble
        ask(cloud, device)
        device.check(manifest)
        if KILL not in writes:
            return


@pytest.mark.parametrize("again", [_rotate, _renew, _replace])
def test_a_second_kill_loses_no_key_that_the_root_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: Callable[[SigningCloud, Path], None]
) -> None:
    before = SigningCloud(state=tmp_path / "cloud")
    before.publish()
    root_keys = SigningFiles(before.state).offline.rename(tmp_path / "safe")
    (root_keys / "root-3.key").unlink()
    files, num_writes = SigningFiles(before.state), 0
    while not files.root(2).exists():
        shutil.rmtree(tmp_path / "killed", ignore_errors=True)
        killed = before.copy(tmp_path / "killed")
        files, num_writes = SigningFiles(killed.state), num_writes + 1
        with killed_at(num_writes):
            _rotate(killed, root_keys)
    assert files.next_key("targets").exists()  # of root 2, and nowhere else
    for num_writes in itertools.count():
        here = tmp_path / str(num_writes)
        cloud = before.copy(here / "cloud", sign=False)
        shutil.rmtree(cloud.state)
        shutil.copytree(killed.state, cloud.state)
        keys = Path(shutil.copytree(root_keys, here / "safe"))
        with killed_at(num_writes) as writes:
            again(cloud, keys)
        shutil.rmtree(keys)
        cloud.start()
        assert not cloud.signing.trouble, writes
        assert trouble(SigningFiles(cloud.state)) == "", writes
        if KILL not in writes:
            return


def test_new_keys_are_made_although_an_old_one_and_a_draft_are_damaged(tmp_path: Path) -> None:
    cloud = SigningCloud(state=tmp_path / "cloud")
    files = SigningFiles(cloud.state)
    files.key("targets").write_bytes(b"junk")
    files.next_key("targets").write_bytes(b"junk")
    _rotate(cloud, files.offline)
    assert trouble(files) == ""


def test_a_kill_at_any_write_of_the_first_keys_is_gone_on_from(tmp_path: Path) -> None:
    for num_writes in itertools.count():
        state = tmp_path / str(num_writes)
        with killed_at(num_writes) as writes:
            ceremony.make_signing(state, now_s=time.time(), timestamp_days=1)
        if KILL not in writes:
            return
        files = ceremony.make_signing(state, now_s=time.time(), timestamp_days=1)
        assert trouble(files) == "" and len(files.root_keys_here()) == 3, writes


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
