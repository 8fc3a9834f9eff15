"""What thieves and damaged disks leave on a device is got over, by new keys or by itself."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile

from driftline_cloud.signing.files import SigningFiles
from driftline_cloud.signing.keys import read_signer
from driftline_device.signatures.trusted import TrustedUpdates
from driftline_shared.errors import Reason, UpdateError
from driftline_shared.signing.bundle import SignedState
from tests.fakes.adapters import LINE
from tests.fakes.signing import SigningCloud, ask, bring, changed, new_device

FAR = 1 << 31


def started(cloud: SigningCloud, state: Path) -> TrustedUpdates:
    """The device in `state`, enrolled with the first root, at another start."""
    return new_device(cloud, state, root=SigningFiles(cloud.state).root(1).read_bytes())


@pytest.fixture
def cloud(tmp_path: Path) -> SigningCloud:
    made = SigningCloud(state=tmp_path / "cloud")
    made.publish()
    return made


@pytest.fixture
def device(cloud: SigningCloud, tmp_path: Path) -> TrustedUpdates:
    made = new_device(cloud, tmp_path / "device")
    ask(cloud, made)
    made.check(cloud.registry.manifest(LINE.id, 1))
    return made


def ask_twice(cloud: SigningCloud, device: TrustedUpdates) -> None:
    """What a thief signed may have the number of what the cloud has: the second poll brings it."""
    ask(cloud, device)
    ask(cloud, device)


def refused(device: TrustedUpdates, version: object) -> Reason:
    with pytest.raises(UpdateError) as caught:
        device.check(version)  # type: ignore[arg-type]
    return caught.value.reason


# -- numbers that thieves name ------------------------------------------------------------------


def test_a_version_that_a_thief_named_is_forgotten_once_keys_are_new(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    thief = cloud.copy(tmp_path / "thief")
    named = thief.name(FAR)
    ask(thief, device)
    device.check(named)
    device = started(cloud, tmp_path / "device")  # started again since
    second = cloud.publish()
    cloud.rotate()
    ask_twice(cloud, device)
    device.check(second)
    assert refused(device, cloud.registry.manifest(LINE.id, 1)) is Reason.VERSION_NOT_NEWER
    assert refused(device, named) is Reason.NOT_SIGNED


def test_new_keys_of_the_line_alone_lift_no_bound(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    second = cloud.publish()
    ask(cloud, device)
    device.check(second)
    thief = cloud.copy(tmp_path / "thief")
    SigningFiles(thief.state).line_key(LINE.id).unlink()  # all but the root's keys are new
    first = thief.name(1)
    ask(thief, device)
    assert device.status.reason == ""
    assert refused(device, first) is Reason.VERSION_NOT_NEWER


def test_what_the_new_keys_name_stays_the_highest(
    cloud: SigningCloud, device: TrustedUpdates
) -> None:
    second = cloud.publish()
    ask(cloud, device)
    device.check(second)
    cloud.rotate()
    ask(cloud, device)
    assert refused(device, cloud.registry.manifest(LINE.id, 1)) is Reason.VERSION_NOT_NEWER
    device.check(second)


def test_a_version_that_was_kept_without_its_keys_is_of_those_of_then(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    held = tmp_path / "device" / "trusted" / "held.json"
    held.write_text(json.dumps({"line": LINE.id, "highest": {LINE.base_model: FAR}}))
    first = cloud.registry.manifest(LINE.id, 1)
    device = started(cloud, tmp_path / "device")
    assert refused(device, first) is Reason.VERSION_NOT_NEWER
    cloud.rotate()
    ask(cloud, device)
    device.check(first)


def test_a_version_in_force_that_only_revoked_keys_named_is_disowned(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    thief = cloud.copy(tmp_path / "thief")
    named = thief.name(FAR)
    ask(thief, device)
    device.check(named)
    assert not device.disowns(FAR)  # the keys are in force
    cloud.rotate()
    ask_twice(cloud, device)
    assert device.disowns(FAR) and not device.disowns(1)
    device.check(cloud.registry.manifest(LINE.id, 1))
    assert not device.disowns(FAR)  # what is in force now is the cloud's


def test_what_a_cloud_set_back_does_not_name_is_not_disowned(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    backup = cloud.copy(tmp_path / "backup")
    second = cloud.publish()
    ask(cloud, device)
    device.check(second)
    backup.ahead_s = 60.0
    backup.name(1)
    ask(backup, device)
    assert device.status.reason == "" and not device.disowns(2)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "line"])
def test_each_number_of_metadata_set_sky_high_is_undone_by_new_keys(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path, role: str
) -> None:
    thief, far = cloud.copy(tmp_path / "thief"), 1 << 60
    bundle, line_role = thief.bundle(), f"line.{LINE.id}"
    files = {name: getattr(bundle, name) for name in ("timestamp", "snapshot", "targets")}
    files["line"] = bundle.line_targets
    version = {
        name: Metadata.from_bytes(data).signed.version + 1 for name, data in files.items()
    } | {role: far}
    signer = {name: thief.signer(name) for name in files if name != "line"}
    signer["line"] = read_signer(SigningFiles(thief.state).line_key(LINE.id))
    meta = {
        f"{line_role}.json": MetaFile(version=version["line"]),
        "targets.json": MetaFile(version=version["targets"]),
    }
    more = {
        "timestamp": {"snapshot_meta": MetaFile(version=version["snapshot"])},
        "snapshot": {"meta": meta},
    }
    forged = {
        name: changed(data, signer[name], version=version[name], **more.get(name, {}))
        for name, data in files.items()
    }
    forged["line_targets"] = forged.pop("line")
    bring(device, replace(bundle, **forged))
    assert getattr(device.held(), role) == far
    second = cloud.publish()
    ask(cloud, device)
    assert refused(device, second) in (Reason.METADATA_OLDER, Reason.METADATA_INVALID)
    cloud.rotate()
    ask_twice(cloud, device)
    device.check(second)
    assert getattr(device.held(), role) < far


# -- what is damaged on the disk ----------------------------------------------------------------


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path: Path) -> None:
    path.write_text(path.read_text().replace('"expires":"20', '"expires":"21'))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _remove(path: Path) -> None:
    path.unlink()


DAMAGES = [_cut, _flip, _empty, _folder, _remove]


@pytest.mark.parametrize(
    ("damage", "number", "when"),
    [
        *((damage, 3, "before its start") for damage in DAMAGES),
        (_cut, 2, "before its start"),
        (_cut, 2, "while it runs"),
        (_flip, 3, "while it runs"),
    ],
)
def test_a_damaged_root_is_set_aside_and_comes_again(
    cloud: SigningCloud,
    device: TrustedUpdates,
    tmp_path: Path,
    damage: Callable[[Path], None],
    number: int,
    when: str,
) -> None:
    cloud.rotate()
    cloud.rotate()
    ask(cloud, device)
    assert device.status.root == 3
    damage(tmp_path / "device" / "trusted" / "root_history" / f"{number}.root.json")
    if when == "before its start":
        device = started(cloud, tmp_path / "device")
        assert device.status.root == number - 1
    second = cloud.publish()
    ask(cloud, device)
    ask(cloud, device)  # while it runs, the first of the two finds it
    assert device.status.root == 3 and not device.status.reason
    device.check(second)


def test_while_a_root_is_damaged_the_keys_that_it_revoked_sign_nothing(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    thief = cloud.copy(tmp_path / "thief")
    cloud.rotate()
    ask(cloud, device)
    _cut(tmp_path / "device" / "trusted" / "root_history" / "2.root.json")
    device = started(cloud, tmp_path / "device")
    thief.ahead_s = 60.0
    stolen = thief.publish()
    ask(thief, device)
    assert device.status.reason == "metadata_older"
    assert refused(device, stolen) is Reason.METADATA_OLDER
    assert device.held() == SignedState(root=1)
    ask(cloud, device)
    device.check(cloud.registry.manifest(LINE.id, 1))


@pytest.mark.parametrize("damage", [_cut, _flip])
@pytest.mark.parametrize("name", ["timestamp", "snapshot", "targets", f"line.{LINE.id}"])
def test_other_damaged_metadata_comes_again(
    cloud: SigningCloud,
    device: TrustedUpdates,
    tmp_path: Path,
    damage: Callable[[Path], None],
    name: str,
) -> None:
    damage(tmp_path / "device" / "trusted" / f"{name}.json")
    device = started(cloud, tmp_path / "device")
    first = cloud.registry.manifest(LINE.id, 1)
    ask(cloud, device)
    try:
        device.check(first)
    except UpdateError:
        ask(cloud, device)
        device.check(first)
    assert not device.status.reason


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("when", ["before its start", "while it runs"])
def test_what_is_no_file_in_a_file_s_place_is_set_aside(
    cloud: SigningCloud,
    device: TrustedUpdates,
    tmp_path: Path,
    make: Callable[[Path], None],
    when: str,
) -> None:
    folder = tmp_path / "device" / "trusted"
    names = ["root_history/1.root.json", "root.json", "timestamp.json", "snapshot.json"]
    for name in [*names, "targets.json", f"line.{LINE.id}.json", "notes.json"]:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
    if when == "before its start":
        device = started(cloud, tmp_path / "device")
    second = cloud.publish()
    ask_twice(cloud, device)
    device.check(second)
    assert not device.status.reason and (folder / "timestamp.json.broken").exists()


def test_a_file_in_the_place_of_a_folder_is_set_aside(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    for folder in (tmp_path / "device/trusted/root_history", tmp_path / "device/trusted"):
        shutil.rmtree(folder)
        folder.write_text("")
        device = started(cloud, tmp_path / "device")
        ask_twice(cloud, device)
        device.check(cloud.registry.manifest(LINE.id, 1))


def test_strays_among_the_roots_are_no_roots(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    folder = tmp_path / "device" / "trusted" / "root_history"
    for name in ("notes.json", "٣.root.json", "7.root.json", "9" * 400 + ".root", "x.root.json"):
        (folder / name[:200]).write_text("{}")
    (folder / ("9" * 200 + ".root.json")).write_text("{}")
    device = started(cloud, tmp_path / "device")
    assert device.status.root == 1
    cloud.rotate()
    second = cloud.publish()
    ask(cloud, device)
    device.check(second)
    assert device.status.root == 2


def test_a_damaged_memory_is_begun_again(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    held = tmp_path / "device" / "trusted" / "held.json"
    held.write_bytes(held.read_bytes().replace(b'"version": 1', b'"version": 9'))
    device = started(cloud, tmp_path / "device")
    assert held.with_name("held.json.broken").exists()
    ask(cloud, device)
    device.check(cloud.registry.manifest(LINE.id, 1))


def test_a_device_that_enrols_with_another_cloud_begins_with_its_root(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    cloud.rotate()
    ask(cloud, device)
    other = SigningCloud(state=tmp_path / "other")
    first = other.publish()
    device = new_device(other, tmp_path / "device")
    assert device.status.root == 1
    ask(other, device)
    device.check(first)
    other.rotate()
    ask(other, device)
    assert device.status.root == 2 and not device.status.reason


def test_a_root_by_strangers_is_no_root(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    evil = CryptoSigner.generate_ed25519()
    forged = changed(cloud.signing.root, evil, version=2)
    (tmp_path / "device" / "trusted" / "root_history" / "2.root.json").write_bytes(forged)
    device = started(cloud, tmp_path / "device")
    assert device.status.root == 1
    device.check(cloud.registry.manifest(LINE.id, 1))
    shutil.rmtree(tmp_path / "device" / "trusted")
