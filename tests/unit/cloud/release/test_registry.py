"""The registry: versions, offers, direct updates, idempotent publish, recovery."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_cloud.release.direct import merge, pack_direct
from driftline_cloud.release.manifests import (
    Lineage,
    manifest_from_json,
    manifest_of,
    manifest_to_json,
)
from driftline_cloud.release.packer import Packed, PackSetting, pack, pack_exact
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_shared.errors import ConfigError, DriftlineError, Reason, UpdateError
from driftline_shared.update import (
    STEPS_FORMAT,
    TENSORS_FORMAT,
    Adapter,
    Manifest,
    UpdateKind,
    adapter_digest,
)
from driftline_shared.update_apply import apply_update
from tests.fakes.adapters import LINE, lora_adapter, same_bits, sqrt_fisher, trained

BASE = lora_adapter()


def lineage(number: int) -> Lineage:
    return Lineage(
        round_id=f"r{number}", num_samples=9, created_unix_s=1_800_000_000, gate={"agreement": 0.9}
    )


def pack_next(registry: ReleaseRegistry, number: int) -> Packed:
    base = registry.canonical(LINE.id, registry.newest_version(LINE.id))
    target = trained(base, number)
    residual = registry.residual(LINE.id)
    setting = PackSetting(share=0.25, quantizer="linear2" if number % 2 else "linear3")
    return pack(base, target, residual, sqrt_fisher(base), setting)


def with_versions(folder: Path, num_versions: int) -> ReleaseRegistry:
    registry = ReleaseRegistry(folder)
    registry.open_line(LINE, BASE)
    for number in range(1, num_versions + 1):
        registry.publish(LINE.id, pack_next(registry, number), lineage(number))
    return registry


def fetch(registry: ReleaseRegistry, manifest: Manifest) -> bytes:
    """As a device does: in pieces, by offset."""
    blob = b""
    while len(blob) < manifest.blob_bytes:
        blob += registry.blobs.read(manifest.blob_digest, len(blob), max_bytes=100)
    return blob


def test_a_new_line_offers_nothing_and_holds_version_0(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 0)
    assert registry.newest_version(LINE.id) == 0
    assert same_bits(registry.canonical(LINE.id, 0), BASE)
    assert registry.offer(LINE.id, 0) is None
    assert not any(array.any() for array in registry.residual(LINE.id).values())


def test_every_version_reaches_every_older_device_bit_for_bit(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 5)
    for held in range(-1, 5):
        manifest = registry.offer(LINE.id, held)
        assert manifest is not None and manifest.target_version == 5
        base = registry.canonical(LINE.id, max(held, 0))
        result = apply_update(base, manifest, fetch(registry, manifest))
        assert same_bits(result, registry.canonical(LINE.id, 5))
        assert registry.offer(LINE.id, held) == manifest
    assert registry.offer(LINE.id, 5) is None


def test_the_direct_update_equals_the_chain_and_costs_about_as_much(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 4)
    adapter: Adapter = registry.canonical(LINE.id, 1)
    chain_bytes = 0
    for version in (2, 3, 4):
        step = registry.manifest(LINE.id, version)
        adapter = apply_update(adapter, step, fetch(registry, step))
        chain_bytes += step.blob_bytes
    direct = registry.offer(LINE.id, 1)
    assert direct is not None and direct.kind is UpdateKind.DELTA
    applied = apply_update(registry.canonical(LINE.id, 1), direct, fetch(registry, direct))
    assert same_bits(applied, adapter)
    assert direct.blob_bytes < 1.2 * chain_bytes


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["linear2", "linear4", "steps", "exact"]), min_size=1, max_size=4))
def test_merging_any_chain_gives_its_bits(names: list[str]) -> None:
    adapter, steps = BASE, []
    for version, name in enumerate(names):
        target = trained(adapter, version)
        if name == "exact":
            packed = pack_exact(adapter, target)
        else:
            setting = PackSetting(share=0.3, quantizer=name)
            packed = pack(adapter, target, {}, sqrt_fisher(BASE), setting)
        manifest = manifest_of(
            packed, LINE, lineage(version), base_version=version, target_version=version + 1
        )
        steps.append((manifest, packed.blob))
        adapter = packed.adapter
    merged = merge(BASE, steps)
    assert merged is not None and same_bits(merged.adapter, adapter)
    for manifest_format in (TENSORS_FORMAT, STEPS_FORMAT):
        packed = pack_direct(BASE, adapter, steps, line="x", manifest_format=manifest_format)
        assert same_bits(packed.adapter, adapter) and packed.format <= manifest_format


def test_a_device_of_before_gets_the_same_bits_in_a_form_that_it_knows(tmp_path: Path) -> None:
    registry = ReleaseRegistry(tmp_path)
    registry.open_line(LINE, BASE)
    for number in (1, 2, 3):
        base = registry.canonical(LINE.id, number - 1)
        setting = PackSetting(share=0.2, quantizer="steps")
        packed = pack(base, trained(base, number), {}, sqrt_fisher(base), setting)
        registry.publish(LINE.id, packed, lineage(number))
    for held in (0, 1, 2):
        new = registry.offer(LINE.id, held)
        old = registry.offer(LINE.id, held, manifest_format=TENSORS_FORMAT)
        assert new is not None and new.format == STEPS_FORMAT
        assert old is not None and old.format == TENSORS_FORMAT and old.tensors
        for manifest in (new, old):
            result = apply_update(
                registry.canonical(LINE.id, held), manifest, fetch(registry, manifest)
            )
            assert same_bits(result, registry.canonical(LINE.id, 3))
        assert new.blob_bytes < old.blob_bytes
        assert registry.offer(LINE.id, held, manifest_format=TENSORS_FORMAT) == old
        assert registry.offer(LINE.id, held) == new


def test_a_chain_too_long_to_merge_falls_back_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = with_versions(tmp_path, 12)
    manifest = registry.offer(LINE.id, 0)
    assert manifest is not None
    result = apply_update(BASE, manifest, fetch(registry, manifest))
    assert same_bits(result, registry.canonical(LINE.id, 12))
    if manifest.kind is UpdateKind.FULL:
        assert "update.full_chosen" in capsys.readouterr().out


def test_a_full_update_is_a_policy_and_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = with_versions(tmp_path, 2)
    manifest = registry.offer(LINE.id, 2, full_reason="base_mismatch")
    assert manifest is not None and manifest.kind is UpdateKind.FULL
    assert "base_mismatch" in capsys.readouterr().out
    anything = trained(BASE, 99)
    result = apply_update(anything, manifest, fetch(registry, manifest))
    assert same_bits(result, registry.canonical(LINE.id, 2))


def test_a_failed_version_is_not_offered_again_but_the_next_one_is(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 2)
    assert registry.offer(LINE.id, 1, failed_versions=(2,)) is None
    assert registry.offer(LINE.id, 1, failed_versions=(2,), full_reason="asked") is None
    registry.publish(LINE.id, pack_next(registry, 3), lineage(3))
    manifest = registry.offer(LINE.id, 1, failed_versions=(2,))
    assert manifest is not None and (manifest.base_version, manifest.target_version) == (1, 3)


def test_a_device_ahead_of_the_cloud_is_left_alone(tmp_path: Path) -> None:
    assert with_versions(tmp_path, 1).offer(LINE.id, 7) is None


def test_publishing_a_round_twice_gives_one_version(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 1)
    packed = pack_next(registry, 2)
    first = registry.publish(LINE.id, packed, lineage(2))
    again = registry.publish(LINE.id, packed, lineage(2))
    reopened = ReleaseRegistry(tmp_path)
    reopened.open_line(LINE, BASE)
    assert (
        first
        == again
        == reopened.publish(LINE.id, packed, lineage(2))
        == registry.find_round(LINE.id, "r2")
    )
    assert registry.newest_version(LINE.id) == 2
    assert registry.find_round(LINE.id, "r9") is None


def test_an_update_for_an_older_base_is_not_published(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 1)
    late = pack_next(registry, 2)
    registry.publish(LINE.id, pack_next(registry, 3), lineage(3))
    with pytest.raises(UpdateError) as caught:
        registry.publish(LINE.id, late, lineage(4))
    assert caught.value.reason is Reason.BASE_MISMATCH
    assert registry.newest_version(LINE.id) == 2


def test_state_survives_reopening_and_leftovers_go(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 3)
    kept, residual = registry.offer(LINE.id, 1), registry.residual(LINE.id)
    folder = tmp_path / "lines" / LINE.id
    drafts = (folder / ".4.safetensors.new", folder / "4.safetensors.part")  # now, and up to 0.1.0
    for draft in drafts:
        draft.write_bytes(b"cut")
    (folder / "4.residual").write_bytes(b"cut")
    (tmp_path / "blobs" / ("0" * 64)).write_bytes(b"unnamed")
    reopened = ReleaseRegistry(tmp_path)
    reopened.open_line(LINE, BASE)
    assert reopened.newest_version(LINE.id) == 3
    assert reopened.offer(LINE.id, 1) == kept
    assert same_bits(reopened.residual(LINE.id), residual)
    assert not any(path.exists() for path in (*drafts, tmp_path / "blobs" / ("0" * 64)))
    assert {path.name for path in folder.glob("*.residual")} == {"2.residual", "3.residual"}


def test_a_line_that_began_otherwise_is_refused(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 1)
    registry.open_line(LINE, BASE)
    for line, initial in (
        (LINE, trained(BASE, 1)),
        (replace(LINE, base_model=LINE.base_model[:-1] + "e"), BASE),
        (replace(LINE, pair="../up"), BASE),
        (replace(LINE, pair=""), BASE),
    ):
        with pytest.raises(ConfigError):
            registry.open_line(line, initial)


def test_blobs_are_served_by_offset_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 1)
    manifest = registry.manifest(LINE.id, 1)
    size = registry.blobs.size(manifest.blob_digest)
    assert size == manifest.blob_bytes
    assert registry.blobs.read(manifest.blob_digest, size) == b""
    for digest, offset, reason in (
        (b"\x00" * 32, 0, Reason.BLOB_UNKNOWN),
        (b"..", 0, Reason.BLOB_UNKNOWN),
        (manifest.blob_digest, size + 1, Reason.OFFSET_INVALID),
        (manifest.blob_digest, -1, Reason.OFFSET_INVALID),
    ):
        with pytest.raises(UpdateError) as caught:
            registry.blobs.read(digest, offset)
        assert caught.value.reason is reason
    with pytest.raises(UpdateError):
        registry.manifest(LINE.id, 9)


def test_rot_on_disk_is_noticed(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 2)
    step = registry.manifest(LINE.id, 1)
    path = tmp_path / "blobs" / step.blob_digest.hex()
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(UpdateError) as caught:
        registry.offer(LINE.id, 0)
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    (tmp_path / "lines" / LINE.id / "1.safetensors").write_bytes(b"rot")
    with pytest.raises(DriftlineError):
        registry.canonical(LINE.id, 1)


def test_manifests_round_trip_as_json_and_anything_else_is_refused(tmp_path: Path) -> None:
    manifest = with_versions(tmp_path, 1).manifest(LINE.id, 1)
    text = manifest_to_json(manifest)
    assert manifest_from_json(text) == manifest
    document = json.loads(text)
    assert "ik_head" not in document, "so were manifests written before there were heads"
    judged = replace(manifest, ik_head=b"PIK")
    assert manifest_from_json(manifest_to_json(judged)) == judged
    spoiled = [
        b"", b"[]", b"{}", b"null", text[:-5],
        json.dumps({**document, "extra": 1}).encode(),
        json.dumps({**document, "kind": "patch"}).encode(),
        json.dumps({**document, "blob_digest": "xyz"}).encode(),
        json.dumps({**document, "tensors": [1]}).encode(),
        json.dumps({**document, "target_version": 0}).encode(),
        *(
            json.dumps({key: value for key, value in document.items() if key != missing}).encode()
            for missing in ("pair", "expires_unix_s")
        ),
    ]  # fmt: skip
    for bad in spoiled:
        with pytest.raises(UpdateError) as caught:
            manifest_from_json(bad)
        assert caught.value.reason is Reason.MANIFEST_INVALID


def test_digest_of_the_newest_adapter_is_the_manifests(tmp_path: Path) -> None:
    registry = with_versions(tmp_path, 2)
    digest = adapter_digest(registry.canonical(LINE.id, 2))
    assert registry.manifest(LINE.id, 2).target_digest == digest
