"""An earlier version released again: its bits, from wherever, and nothing of the bad one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from driftline_cloud.release.manifests import Lineage
from driftline_cloud.release.packer import PackSetting, pack
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.release.restore import publish_restored
from driftline_shared.p_ik.head import head_to_bytes
from driftline_shared.update import TENSORS_FORMAT
from driftline_shared.update_apply import apply_update
from tests.fakes.adapters import LINE, lora_adapter, same_bits, sqrt_fisher, trained
from tests.fakes.runtime import ik_head


def _with_versions(folder: Path, num_versions: int, quantizer: str = "steps") -> ReleaseRegistry:
    registry = ReleaseRegistry(folder)
    registry.open_line(LINE, lora_adapter())
    for number in range(1, num_versions + 1):
        base = registry.canonical(LINE.id, number - 1)
        packed = pack(
            base,
            trained(base, number),
            registry.residual(LINE.id),
            sqrt_fisher(base),
            PackSetting(share=0.25, quantizer=quantizer),
        )
        lineage = Lineage(
            round_id=f"r{number}",
            num_samples=number,
            created_unix_s=1_800_000_000,
            gate={"agreement": number / 10},
            ik_head=head_to_bytes(ik_head(number)) if number == 2 else b"",
        )
        registry.publish(LINE.id, packed, lineage)
    return registry


def _restore(registry: ReleaseRegistry, version: int, name: str = "undo"):
    return publish_restored(registry, LINE.id, version, round_id=name, created_unix_s=1_800_000_009)


@pytest.mark.parametrize("quantizer", ["steps", "linear3"])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_every_device_comes_to_the_bits_of_the_earlier_version(
    tmp_path: Path, version: int, quantizer: str
) -> None:
    registry = _with_versions(tmp_path, 3, quantizer)
    manifest = _restore(registry, version)
    assert (manifest.base_version, manifest.target_version, manifest.round_id) == (3, 4, "undo")
    wanted = registry.canonical(LINE.id, version)
    assert same_bits(registry.canonical(LINE.id, 4), wanted)
    for held in range(4):
        for form in (manifest.format, TENSORS_FORMAT):
            offer = registry.offer(LINE.id, held, manifest_format=form)
            assert offer is not None
            blob = registry.blobs.get(offer.blob_digest)
            assert same_bits(apply_update(registry.canonical(LINE.id, held), offer, blob), wanted)
    # Who never left the version pays next to nothing.
    assert registry.offer(LINE.id, version).blob_bytes < 100
    assert _restore(registry, version) == manifest


def test_what_coding_lost_comes_back_with_the_version_before_and_is_forgotten_with_older_ones(
    tmp_path: Path,
) -> None:
    registry = _with_versions(tmp_path / "a", 2)
    before = registry.residual(LINE.id)
    base = registry.canonical(LINE.id, 2)
    bad = pack(
        base, trained(base, 9), before, sqrt_fisher(base), PackSetting(share=0.1, quantizer="steps")
    )
    registry.publish(LINE.id, bad, Lineage(round_id="r3", num_samples=1, created_unix_s=1))
    _restore(registry, 2)
    assert any(array.any() for array in before.values())
    assert same_bits(registry.residual(LINE.id), before)
    older = _with_versions(tmp_path / "b", 3)
    _restore(older, 1)
    assert not any(array.any() for array in older.residual(LINE.id).values())


def test_the_head_and_the_numbers_are_those_of_the_version_under_its_new_number(
    tmp_path: Path,
) -> None:
    manifest = _restore(_with_versions(tmp_path, 3), 2)
    assert manifest.ik_head == head_to_bytes(replace(ik_head(2), version=4))
    assert (manifest.num_samples, manifest.gate["agreement"]) == (2, 0.2)


def test_rounds_go_on_from_what_was_released_again(tmp_path: Path) -> None:
    registry = _with_versions(tmp_path, 2)
    _restore(registry, 1)
    base = registry.canonical(LINE.id, 3)
    packed = pack(
        base, trained(base, 4), registry.residual(LINE.id), sqrt_fisher(base),
        PackSetting(share=0.25, quantizer="steps"),
    )  # fmt: skip
    registry.publish(LINE.id, packed, Lineage(round_id="r4", num_samples=1, created_unix_s=1))
    again = _restore(registry, 3, name="undo again")
    assert again.target_version == 5
    for held in range(5):
        offer = registry.offer(LINE.id, held)
        blob = registry.blobs.get(offer.blob_digest)
        found = apply_update(registry.canonical(LINE.id, held), offer, blob)
        assert same_bits(found, registry.canonical(LINE.id, 1))
