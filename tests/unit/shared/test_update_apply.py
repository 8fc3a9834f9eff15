"""Applying an update: the result is the cloud's bit for bit, and every fault has its reason."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_cloud.release.delta import no_residual
from driftline_cloud.release.manifests import Lineage, manifest_of
from driftline_cloud.release.packer import Packed, PackSetting, pack, pack_exact, pack_full
from driftline_shared.codec.entropy import pack_segments
from driftline_shared.codec.steps.body import Change, encode_body, join_bodies, split_bodies
from driftline_shared.codec.table import encode_layer
from driftline_shared.errors import Reason, UpdateError
from driftline_shared.update import STEPS_FORMAT, Adapter, Manifest, UpdateKind, adapter_digest
from driftline_shared.update_apply import apply_update, decode_steps
from driftline_shared.wire import from_manifest, to_manifest
from tests.fakes.adapters import LINE, lora_adapter, same_bits, sqrt_fisher, trained

LINEAGE = Lineage(round_id="r1", num_samples=3, created_unix_s=1_800_000_000)
BASE = lora_adapter()
TARGET = trained(BASE, 1)


def manifest_for(packed: Packed) -> Manifest:
    return manifest_of(packed, LINE, LINEAGE, base_version=0, target_version=1)


def delta_update() -> tuple[Manifest, bytes, Packed]:
    packed = pack(
        BASE,
        TARGET,
        no_residual(BASE),
        sqrt_fisher(BASE),
        PackSetting(share=0.35, quantizer="linear3"),
    )
    return manifest_for(packed), packed.blob, packed


MANIFEST, BLOB, PACKED = delta_update()


def refusal(base: Adapter, manifest: Manifest, blob: bytes) -> Reason:
    with pytest.raises(UpdateError) as caught:
        apply_update(base, manifest, blob)
    return caught.value.reason


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("quantizer", ["linear2", "linear3", "linear4", "nf4", "linear8"])
def test_device_gets_the_clouds_bits_through_the_wire(share: float, quantizer: str) -> None:
    packed = pack(
        BASE,
        TARGET,
        no_residual(BASE),
        sqrt_fisher(BASE),
        PackSetting(share=share, quantizer=quantizer),
    )
    received = from_manifest(to_manifest(manifest_for(packed)))
    assert same_bits(apply_update(BASE, received, packed.blob), packed.adapter)


def test_exact_and_full_give_the_target_bit_for_bit() -> None:
    exact, full = pack_exact(BASE, TARGET), pack_full(TARGET)
    assert same_bits(apply_update(BASE, manifest_for(exact), exact.blob), TARGET)
    # A full update does not care what the device holds.
    assert same_bits(apply_update(trained(BASE, 9), manifest_for(full), full.blob), TARGET)


STEPS_PACKED = pack(BASE, TARGET, {}, sqrt_fisher(BASE), PackSetting(share=0.2, quantizer="steps"))
STEPS_MANIFEST = manifest_for(STEPS_PACKED)


def test_steps_give_the_clouds_bits_through_the_wire() -> None:
    received = from_manifest(to_manifest(STEPS_MANIFEST))
    assert received == STEPS_MANIFEST and received.format == STEPS_FORMAT
    assert not received.tensors
    assert same_bits(apply_update(BASE, received, STEPS_PACKED.blob), STEPS_PACKED.adapter)


def test_several_bodies_are_added_in_turn() -> None:
    body = split_bodies(STEPS_PACKED.blob)[0]
    once = decode_steps(BASE, join_bodies([body]))
    assert same_bits(
        decode_steps(BASE, join_bodies([body, body])), decode_steps(once, STEPS_PACKED.blob)
    )


@pytest.mark.parametrize(
    "put",
    [
        {"tensors": MANIFEST.tensors},
        {"kind": UpdateKind.FULL},
        {"raw_bytes": STEPS_MANIFEST.raw_bytes + 1},
        {"raw_bytes": 1 << 29},
    ],
)
def test_a_manifest_of_steps_says_nothing_that_it_must_not(put: dict[str, object]) -> None:
    manifest = replace(STEPS_MANIFEST, **put)  # type: ignore[arg-type]
    assert refusal(BASE, manifest, STEPS_PACKED.blob) is Reason.MANIFEST_INVALID


def test_steps_too_large_for_the_weights_are_not_finite() -> None:
    huge = {name: np.full_like(array, np.finfo(np.float32).max) for name, array in BASE.items()}
    shapes = {name: array.shape for name, array in BASE.items()}
    name = min(shapes)
    change = Change(np.full(shapes[name], 127), 255)
    blob = join_bodies([encode_body({name: change}, shapes)] * 3)
    with pytest.raises(UpdateError) as caught:
        decode_steps({**huge, name: np.full_like(huge[name], np.inf)}, blob)
    assert caught.value.reason is Reason.PROBE_NOT_FINITE


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_steps_are_refused_by_their_digest_or_as_corrupt(data: st.DataObject) -> None:
    blob = bytearray(STEPS_PACKED.blob)
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(blob[: len(blob) - data.draw(st.integers(0, 9))])
    assert refusal(BASE, STEPS_MANIFEST, damaged) is Reason.DIGEST_MISMATCH
    claimed = replace(
        STEPS_MANIFEST,
        blob_digest=hashlib.sha256(damaged).digest(),
        blob_bytes=len(damaged),
        raw_bytes=len(damaged),
    )
    assert refusal(BASE, claimed, damaged) in {
        Reason.UPDATE_CORRUPT,
        Reason.DIGEST_MISMATCH,
        Reason.PROBE_NOT_FINITE,
    }


def test_base_is_untouched() -> None:
    before = adapter_digest(BASE)
    apply_update(BASE, MANIFEST, BLOB)
    assert adapter_digest(BASE) == before


def test_another_base_is_a_base_mismatch() -> None:
    assert refusal(TARGET, MANIFEST, BLOB) is Reason.BASE_MISMATCH


def test_another_blob_or_a_cut_one_is_a_digest_mismatch() -> None:
    assert refusal(BASE, MANIFEST, BLOB[:-1]) is Reason.DIGEST_MISMATCH
    assert refusal(BASE, MANIFEST, BLOB[:-1] + bytes([BLOB[-1] ^ 1])) is Reason.DIGEST_MISMATCH
    assert refusal(BASE, MANIFEST, b"") is Reason.DIGEST_MISMATCH


def test_another_tensor_or_target_digest_is_a_digest_mismatch() -> None:
    spoiled = replace(MANIFEST.tensors[2], digest=b"\x00" * 8)
    tensors = (*MANIFEST.tensors[:2], spoiled, *MANIFEST.tensors[3:])
    with pytest.raises(UpdateError, match=spoiled.name) as caught:
        apply_update(BASE, replace(MANIFEST, tensors=tensors), BLOB)
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    wrong = replace(MANIFEST, target_digest=b"\x01" * 32)
    assert refusal(BASE, wrong, BLOB) is Reason.DIGEST_MISMATCH


def test_a_manifest_that_does_not_fit_the_adapter_is_invalid() -> None:
    first = MANIFEST.tensors[0]
    spoiled = [
        replace(first, name="layers.9.q_proj.lora_A"),
        replace(first, shape=(first.shape[0] * 2, *first.shape[1:])),
        replace(first, shape=(first.shape[0] * first.shape[1],)),
        replace(first, codec="+".join(["fp32"] * 20)),
        replace(first, offset=MANIFEST.raw_bytes),
        replace(first, digest=b""),
    ]
    for entry in spoiled:
        manifest = replace(MANIFEST, tensors=(entry, *MANIFEST.tensors[1:]))
        assert refusal(BASE, manifest, BLOB) is Reason.MANIFEST_INVALID


def test_a_manifest_that_asks_for_much_memory_is_invalid_before_any_is_taken() -> None:
    assert refusal(BASE, replace(MANIFEST, raw_bytes=1 << 29), BLOB) is Reason.MANIFEST_INVALID
    assert refusal(BASE, replace(MANIFEST, raw_bytes=1 << 62), BLOB) is Reason.MANIFEST_INVALID


def test_versions_must_rise_and_the_format_must_be_known() -> None:
    assert refusal(BASE, replace(MANIFEST, target_version=0), BLOB) is Reason.MANIFEST_INVALID
    assert refusal(BASE, replace(MANIFEST, format=3), BLOB) is Reason.MANIFEST_INVALID


def test_a_full_update_must_hold_every_tensor_and_no_codec_that_needs_a_base() -> None:
    full = pack_full(TARGET)
    manifest = manifest_for(full)
    fewer = replace(manifest, tensors=manifest.tensors[1:])
    assert refusal(BASE, fewer, full.blob) is Reason.MANIFEST_INVALID
    entry = replace(manifest.tensors[0], codec="exact")
    spoiled = replace(manifest, tensors=(entry, *manifest.tensors[1:]))
    assert refusal(BASE, spoiled, full.blob) is Reason.MANIFEST_INVALID


def hand_made(codec: str, data: bytes) -> tuple[Manifest, bytes]:
    """An update of one tensor whose digests are all right, whatever `data` is."""
    name = MANIFEST.tensors[0].name
    entry = replace(
        MANIFEST.tensors[0],
        name=name,
        shape=BASE[name].shape,
        codec=codec,
        offset=0,
        length=len(data),
        digest=hashlib.sha256(data).digest()[:8],
    )
    blob = pack_segments([data])
    manifest = replace(
        MANIFEST,
        tensors=(entry,),
        blob_digest=hashlib.sha256(blob).digest(),
        blob_bytes=len(blob),
        raw_bytes=len(data),
    )
    return manifest, blob


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.4e38])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    name = MANIFEST.tensors[0].name
    base = {**BASE, name: np.full(BASE[name].shape, 3.4e38, dtype=np.float32)}
    values = np.full(BASE[name].size, bad, dtype=np.float32)
    manifest, blob = hand_made("fp32", encode_layer("fp32", values))
    manifest = replace(manifest, base_digest=adapter_digest(base))
    assert refusal(base, manifest, blob) is Reason.PROBE_NOT_FINITE


@settings(max_examples=200)
@given(
    st.sampled_from(
        ["linear2/512", "sparse:linear4", "exact", "nf4", "fp16", "exact+linear2", "?"]
    ),
    st.binary(min_size=1, max_size=200),
)
def test_any_coded_bytes_with_right_digests_give_our_error(codec: str, data: bytes) -> None:
    reason = refusal(BASE, *hand_made(codec, data))
    assert reason in {Reason.UPDATE_CORRUPT, Reason.DIGEST_MISMATCH, Reason.PROBE_NOT_FINITE}


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_a_flipped_bit_under_a_right_blob_digest_gives_our_error(place: int, bit: int) -> None:
    blob = bytearray(BLOB)
    blob[place % len(blob)] ^= 1 << bit
    manifest = replace(MANIFEST, blob_digest=hashlib.sha256(blob).digest())
    try:
        # zstd has a few bits that mean nothing; then the result must still be the right one.
        assert same_bits(apply_update(BASE, manifest, bytes(blob)), PACKED.adapter)
    except UpdateError as error:
        assert error.reason in {Reason.UPDATE_CORRUPT, Reason.DIGEST_MISMATCH}


def test_kind_full_needs_no_base_digest() -> None:
    manifest = manifest_for(pack_full(TARGET))
    assert manifest.kind is UpdateKind.FULL and manifest.base_digest == b""
