"""Versions in a folder and in a far store: each gets what it lacks, wherever copying is cut off."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftline_cloud.backup.check import far_faults
from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.blobs.remote import RemoteStore, open_remote
from driftline_cloud.blobs.store import StoreAwayError
from driftline_cloud.release.copies import bring_together, missing_there
from driftline_cloud.release.manifests import Lineage
from driftline_cloud.release.packer import PackSetting, pack
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_shared.errors import ConfigError
from driftline_shared.update_apply import apply_update
from tests.fakes.adapters import LINE, lora_adapter, same_bits, sqrt_fisher, trained

_numbers = itertools.count()


def _far() -> RemoteStore:
    return open_remote(f"memory://copies-{next(_numbers)}").within("releases")


def _publish(registry: ReleaseRegistry, number: int) -> None:
    base = registry.canonical(LINE.id, registry.newest_version(LINE.id))
    packed = pack(
        base,
        trained(base, number),
        registry.residual(LINE.id),
        sqrt_fisher(base),
        PackSetting(share=0.25, quantizer="linear2"),
    )
    lineage = Lineage(round_id=f"r{number}", num_samples=1, created_unix_s=1_800_000_000)
    registry.publish(LINE.id, packed, lineage)


def _versions(folder: Path, far: RemoteStore | None, *numbers: int) -> ReleaseRegistry:
    registry = ReleaseRegistry(folder, far)
    registry.open_line(LINE, lora_adapter())
    for number in numbers:
        _publish(registry, number)
    return registry


def _kept(store: FolderStore | RemoteStore) -> dict[str, bytes | None]:
    return {key: store.get(key) for key in store.list() if key != "lock"}


def test_a_version_is_in_both_and_an_update_on_demand_in_the_folder_alone(tmp_path: Path) -> None:
    far = _far()
    registry = _versions(tmp_path, far, 1, 2, 3)
    assert _kept(FolderStore(tmp_path)) == _kept(far)
    registry.know_line(LINE)
    manifest = registry.offer(LINE.id, 0)
    assert manifest is not None
    held = apply_update(lora_adapter(), manifest, registry.blobs.get(manifest.blob_digest))
    assert same_bits(held, registry.canonical(LINE.id, 3))
    only_near = _kept(FolderStore(tmp_path)).keys() - _kept(far).keys()
    assert {key.split("/")[0] for key in only_near} == {"lines", "blobs"} and len(only_near) == 2


def test_a_new_folder_is_filled_and_serves(tmp_path: Path) -> None:
    far = _far()
    _versions(tmp_path / "old", far, 1, 2)
    new = ReleaseRegistry(tmp_path / "new", far)
    assert new.newest_version(LINE.id) == 0
    new.catch_up()
    assert new.newest_version(LINE.id) == 2
    assert _kept(FolderStore(tmp_path / "new")) == _kept(FolderStore(tmp_path / "old"))
    new.know_line(LINE)
    _publish(new, 3)
    assert new.newest_version(LINE.id) == 3


def test_a_new_store_gets_what_the_folder_has(tmp_path: Path) -> None:
    registry = _versions(tmp_path, None, 1, 2, 3)
    registry.offer(LINE.id, 0)
    far = _far()
    assert len(missing_there(FolderStore(tmp_path), far)) == 13
    assert far_faults(tmp_path, far)
    _versions(tmp_path, far).catch_up()
    assert not missing_there(FolderStore(tmp_path), far) and not far_faults(tmp_path, far)
    assert not any("/direct/" in key for key in far.list())


def test_copying_that_was_cut_off_leaves_a_whole_version_and_goes_on(tmp_path: Path) -> None:
    far = _far()
    _versions(tmp_path / "old", far, 1, 2)
    total = len(far.list())
    for cut in range(total + 1):
        near = _CutOff(tmp_path / f"new{cut}", [None] * cut)
        with pytest.raises(StoreAwayError) if cut < total else nullcontext():
            bring_together(near, far)
        registry = ReleaseRegistry(tmp_path / f"new{cut}", far)
        for version in range(1, registry.newest_version(LINE.id) + 1):
            manifest = registry.manifest(LINE.id, version)
            near_only = ReleaseRegistry(tmp_path / f"new{cut}")
            assert near_only.canonical(LINE.id, version)
            assert near_only.blobs.get(manifest.blob_digest)
        registry.catch_up()
        assert registry.newest_version(LINE.id) == 2


def test_two_histories_are_refused_before_anything_is_copied(tmp_path: Path) -> None:
    far = _far()
    _versions(tmp_path / "one", far, 1, 2)
    other = _versions(tmp_path / "other", None, 7, 8, 9)
    before = _kept(far)
    with pytest.raises(ConfigError, match="different versions"):
        ReleaseRegistry(tmp_path / "other", far).catch_up()
    assert _kept(far) == before and other.newest_version(LINE.id) == 3


def test_damage_far_away_is_a_fault(tmp_path: Path) -> None:
    far = _far()
    _versions(tmp_path, far, 1)
    files, root = far.connection.open()
    path = f"{root}/releases/lines/{LINE.id}/1.safetensors"
    files.pipe_file(path, files.cat_file(path)[:-1])
    (fault,) = far_faults(tmp_path, far)
    assert "1.safetensors" in fault and "damaged" in fault


@dataclass(frozen=True)
class _CutOff(FolderStore):
    """A folder that takes some blobs more."""

    left: list[None]

    def put(self, key: str, content: bytes) -> None:
        if not self.left:
            raise StoreAwayError("cut off")
        self.left.pop()
        super().put(key, content)
