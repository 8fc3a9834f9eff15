"""Signing that is in trouble never stops a cloud: it says what is wrong, and mends what it can."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tuf.api.metadata import Metadata, TargetFile

from driftline_cloud.signing import signing
from driftline_cloud.signing.ceremony import rotate
from driftline_cloud.signing.files import SigningFiles, has_signing
from driftline_cloud.signing.publish import Publisher
from driftline_cloud.signing.shown import shown
from driftline_cloud.signing.whole import trouble
from driftline_shared.errors import ConfigError
from driftline_shared.signing.bundle import SignedState
from tests.fakes.adapters import LINE
from tests.fakes.signing import SigningCloud, ask, changed, new_device

OTHER = replace(LINE, group="g")


@pytest.fixture
def cloud(tmp_path: Path) -> SigningCloud:
    made = SigningCloud(state=tmp_path / "cloud")
    made.publish()
    return made


def _files(cloud: SigningCloud) -> SigningFiles:
    return SigningFiles(cloud.state)


@pytest.mark.parametrize(
    "place",
    [
        lambda files: files.root(1),
        lambda files: files.key("targets"),
        lambda files: files.key("timestamp"),
    ],
)
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"\x00junk")])
def test_a_cloud_starts_whatever_is_damaged_and_devices_stay_where_they_are(
    cloud: SigningCloud,
    tmp_path: Path,
    place: Callable[[SigningFiles], Path],
    damage: Callable[[Path], None],
) -> None:
    device = new_device(cloud, tmp_path / "device")
    ask(cloud, device)
    good = place(_files(cloud))
    kept = good.read_bytes()
    damage(good)
    assert has_signing(cloud.state)  # it does not fall back to unsigned updates
    cloud.start()
    assert "updates are not signed" in cloud.signing.trouble
    assert trouble(_files(cloud))
    assert not cloud.signing.is_signed(LINE.id, 1)
    assert ask(cloud, device) == 0 and not device.status.reason
    good.write_bytes(kept)
    cloud.signing.step()
    second = cloud.publish()
    ask(cloud, device)
    device.check(second)
    assert cloud.signing.trouble == "" and trouble(_files(cloud)) == ""


@pytest.mark.parametrize("name", ["timestamp", "snapshot", "targets", "line", "line key"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"\x00junk")])
def test_what_the_online_keys_signed_is_mended_by_the_next_start(
    cloud: SigningCloud, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    device, files = new_device(cloud, tmp_path / "device"), _files(cloud)
    ask(cloud, device)
    lines = {"line": files.line(LINE.id), "line key": files.line_key(LINE.id)}
    damage(lines.get(name) or files.role(name))
    cloud.start()
    second = cloud.publish()
    assert cloud.signing.trouble == ""
    ask(cloud, device)
    device.check(second)


def test_strays_are_told_once_and_count_for_nothing(cloud: SigningCloud, tmp_path: Path) -> None:
    device, files = new_device(cloud, tmp_path / "device"), _files(cloud)
    ask(cloud, device)
    root, line = files.root(1).parent, files.line(LINE.id).parent
    for name in ("notes.json", "3.json~", "٣.json", "0.json", "-1.json", "20261128.json", "x"):
        (root / name).write_text("{}")
    (root / ("9" * 200 + ".json")).write_text("{}")
    for name in ("notes.json", "٣.json", "-x.json", "copy of a line.json", "x.json~"):
        (line / name).write_text("{}")
    with capture_logs() as logs:
        cloud.start()
        cloud.rotate()
        cloud.rotate()
    told = [entry for entry in logs if entry["event"] == "signing.strays"]
    assert len(told) == 1 and len(told[0]["paths"]) == 13
    assert cloud.signing.trouble == "" and files.newest_root() == 3
    ask(cloud, device)
    device.check(cloud.registry.manifest(LINE.id, 1))


def test_metadata_that_nobody_signed_is_no_line(cloud: SigningCloud, tmp_path: Path) -> None:
    files, device = _files(cloud), new_device(cloud, tmp_path / "device")
    metadata = Metadata.from_bytes(files.line(LINE.id).read_bytes())
    metadata.signatures.clear()
    for number in range(3):
        files.line(f"evil{number}").write_bytes(metadata.to_bytes())
    with capture_logs() as logs:
        cloud.start()
        cloud.rotate()
    files.role("targets").unlink()
    cloud.start()
    cloud.publish()
    assert cloud.signing.trouble == "" and trouble(files) == ""
    assert [row["role"] for row in shown(cloud.state)["roles"][4:]] == [f"line.{LINE.id}"]
    assert "evil" not in files.role("targets").read_text() + files.role("snapshot").read_text()
    assert not files.line_key("evil0").exists()
    (told,) = [entry for entry in logs if entry["event"] == "signing.strays"]
    assert len(told["paths"]) == 3
    ask(cloud, device)
    device.check(cloud.registry.manifest(LINE.id, 2))


def test_a_root_that_is_missing_in_the_row_is_no_stray(cloud: SigningCloud) -> None:
    cloud.rotate()
    cloud.rotate()
    files = _files(cloud)
    files.root(2).unlink()
    cloud.start()
    assert "2.json is missing" in cloud.signing.trouble and cloud.signing.root
    with pytest.raises(ConfigError, match="is missing"):
        rotate(cloud.state, files.offline, now_s=cloud.now_s(), timestamp_days=1)


def test_a_number_that_a_thief_signed_here_is_left_behind_by_new_keys(
    cloud: SigningCloud, tmp_path: Path
) -> None:
    device, files = new_device(cloud, tmp_path / "device"), _files(cloud)
    ask(cloud, device)
    for role in ("timestamp", "snapshot", "targets"):
        data = files.role(role).read_bytes()
        files.role(role).write_bytes(changed(data, cloud.signer(role), version=1 << 62))
    cloud.start()
    assert "keys rotate" in cloud.signing.trouble
    cloud.rotate()
    second = cloud.publish()
    assert cloud.signing.trouble == ""
    ask(cloud, device)
    device.check(second)
    assert device.held().timestamp < 1 << 40


def test_what_a_thief_named_here_is_not_signed_by_the_new_keys(
    cloud: SigningCloud, tmp_path: Path
) -> None:
    device = new_device(cloud, tmp_path / "device")
    named = cloud.name(1 << 31)  # on the cloud's own machine, with its own keys
    ask(cloud, device)
    device.check(named)
    cloud.rotate()
    assert str(1 << 31) not in _files(cloud).line(LINE.id).read_text()
    ask(cloud, device)
    device.check(cloud.registry.manifest(LINE.id, 1))


def test_a_dropped_line_is_signed_no_more_and_comes_back_with_another_key(
    cloud: SigningCloud, tmp_path: Path
) -> None:
    files, state = _files(cloud), cloud.state
    cloud.registry.ensure_fork(OTHER, LINE.id, 1)
    cloud.signing.ensure(OTHER.id, newest=1, settled=1)
    stays, goes = (new_device(cloud, tmp_path / name) for name in ("stays", "goes"))
    ask(cloud, stays)
    ask(cloud, goes, OTHER.id)
    key = files.line_key(OTHER.id).read_bytes()
    cloud.signing.withdraw(OTHER.id)
    assert not files.line(OTHER.id).exists() and not files.line_key(OTHER.id).exists()
    assert OTHER.id not in files.role("targets").read_text() and trouble(files) == ""
    for device, line in ((stays, LINE.id), (goes, OTHER.id)):
        ask(cloud, device, line)
        assert not device.status.reason
    with pytest.raises(Exception, match="has signed no version 1 of line"):
        goes.check(cloud.registry.manifest(OTHER.id, 1))
    stays.check(cloud.registry.manifest(LINE.id, 1))
    cloud.start()  # nothing is to be mended
    assert not files.line(OTHER.id).exists()
    cloud.signing.ensure(OTHER.id, newest=1, settled=1)
    assert files.line_key(OTHER.id).read_bytes() != key
    ask(cloud, goes, OTHER.id)
    goes.check(cloud.registry.manifest(OTHER.id, 1))
    cloud.signing.withdraw(OTHER.id)
    shutil.copytree(state, tmp_path / "before")
    assert OTHER.id in files.role("snapshot").read_text()  # devices take none that forgets it
    cloud.rotate()
    assert OTHER.id not in files.role("snapshot").read_text()
    ask(cloud, stays)
    stays.check(cloud.registry.manifest(LINE.id, 1))


def test_on_a_disk_that_is_read_only_what_was_signed_is_served(
    cloud: SigningCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> object:
        raise OSError(30, "Read-only file system", str(path))

    device = new_device(cloud, tmp_path / "device")
    with monkeypatch.context() as patch:
        patch.setattr(signing, "take_turn", full)
        cloud.start()
        assert "Read-only" in cloud.signing.trouble and cloud.signing.is_signed(LINE.id, 1)
        ask(cloud, device)
    device.check(cloud.registry.manifest(LINE.id, 1))
    cloud.signing.step()
    assert cloud.signing.trouble == ""


ODD = ("abc", "", "-3", "٣", "03", "1.0", "9" * 5000)


@pytest.mark.parametrize("end", ODD, ids=[end[:4] for end in ODD])
def test_what_a_thief_named_that_is_no_version_stops_nothing_and_is_named_no_more(
    cloud: SigningCloud, tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, odd = _files(cloud), f"{LINE.id}/{end}"
    target = TargetFile(length=1, hashes={"sha256": "00"}, path=odd)
    publisher = Publisher(files=files, now_s=cloud.now_s(), timestamp_days=1)
    publisher.publish({LINE.id: {odd: target}})
    assert repr(odd[:20])[:-1] in trouble(files)
    assert shown(cloud.state)["roles"][-1]["versions"] == []
    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "mend", lambda _: None)
        cloud.start(sign=False)  # the disk would not let it
        assert cloud.signing.trouble == "" and not cloud.signing.is_signed(LINE.id, 3)
    cloud.start()
    assert odd not in Metadata.from_bytes(files.line(LINE.id).read_bytes()).signed.targets
    device = new_device(cloud, tmp_path / "device")
    ask(cloud, device)
    device.check(cloud.registry.manifest(LINE.id, 1))
    assert cloud.signing.trouble == "" and trouble(files) == ""


def test_a_cloud_starts_whatever_reading_its_metadata_raises(
    cloud: SigningCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(signing: signing.Signing, line: str) -> dict[int, TargetFile]:
        raise KeyError(line)

    monkeypatch.setattr(signing.Signing, "_versions", fail)
    cloud.start()
    assert LINE.id in cloud.signing.trouble and cloud.signing.root


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_file_of_another_kind_that_the_role_s_key_signed_is_mended(
    cloud: SigningCloud, role: str
) -> None:
    files = _files(cloud)
    other = "snapshot" if role != "snapshot" else "targets"
    data = files.role(other).read_bytes()
    files.role(role).write_bytes(changed(data, cloud.signer(role)))
    assert role in trouble(files)
    cloud.start()
    assert cloud.signing.trouble == "" and trouble(files) == ""


def test_who_has_no_root_is_given_the_last_that_is_whole(cloud: SigningCloud) -> None:
    cloud.rotate()
    _files(cloud).root(2).write_bytes(b"{")
    cloud.start()
    assert Metadata.from_bytes(cloud.signing.root).signed.version == 1
    assert cloud.signing.bundle(LINE.id, SignedState(root=1)) is None
