"""Applying an update: the one piece of code that turns bytes into weights, on both sides.

The cloud runs it before the gate and the device before the probe, so what is judged is what is run,
bit for bit: a weight is one float32 product and one float32 sum per layer, elementwise in numpy,
with no reduction whose order could differ between machines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftline_shared.bounds import TENSOR_DIGEST_BYTES, check_manifest
from driftline_shared.codec.entropy import unpack_segments
from driftline_shared.codec.steps.body import decode_body, split_bodies
from driftline_shared.codec.table import (
    EXACT,
    apply_tensor,
    decode_values,
    layers_of,
    max_coded_bytes,
)
from driftline_shared.errors import CodecError, Reason, UpdateError
from driftline_shared.update import (
    STEPS_FORMAT,
    Adapter,
    Manifest,
    TensorEntry,
    UpdateKind,
    adapter_digest,
)


def apply_update(base: Adapter, manifest: Manifest, blob: bytes) -> Adapter:
    """The adapter of `manifest.target_version`, from the one in use and the bytes fetched.

    `base` is not changed. Raises UpdateError: `manifest_invalid`, `digest_mismatch`,
    `base_mismatch`, `update_corrupt` or `probe_not_finite`.
    """
    check_manifest(manifest)
    if len(blob) != manifest.blob_bytes or hashlib.sha256(blob).digest() != manifest.blob_digest:
        raise UpdateError("the blob is not the manifest's", reason=Reason.DIGEST_MISMATCH)
    if manifest.kind is UpdateKind.DELTA and adapter_digest(base) != manifest.base_digest:
        raise UpdateError(
            f"the update is for version {manifest.base_version}, another adapter is in use",
            reason=Reason.BASE_MISMATCH,
        )
    if manifest.format == STEPS_FORMAT:
        target = decode_steps(base, blob)
    else:
        target = decode_update(base, manifest.kind, manifest.tensors, blob, manifest.raw_bytes)
    if adapter_digest(target) != manifest.target_digest:
        raise UpdateError("the result is not the manifest's", reason=Reason.DIGEST_MISMATCH)
    return target


def decode_update(
    base: Adapter, kind: UpdateKind, entries: Sequence[TensorEntry], blob: bytes, raw_bytes: int
) -> dict[str, NDArray[np.float32]]:
    """`base` with every entry applied: new arrays where something changed, the same ones elsewhere.

    What is allocated is bounded by `base`: an entry must name one of its tensors, with its shape.
    """
    if kind is UpdateKind.FULL and {entry.name for entry in entries} != set(base):
        raise UpdateError("a full update must hold every tensor", reason=Reason.MANIFEST_INVALID)
    bound = sum(_check_entry(entry, base, kind, raw_bytes) for entry in entries)
    if raw_bytes > bound:
        raise UpdateError(
            f"{raw_bytes} raw bytes for tensors that need at most {bound}",
            reason=Reason.MANIFEST_INVALID,
        )
    target = {name: np.asarray(base[name], dtype=np.float32) for name in sorted(base)}
    try:
        raw = unpack_segments(blob, raw_bytes)
        # Overflow is caught by the check of finiteness, with a reason.
        with np.errstate(over="ignore", invalid="ignore"):
            for entry in entries:
                target[entry.name] = _decode_entry(entry, kind, target[entry.name], raw)
    except CodecError as error:
        raise UpdateError(f"the update does not decode: {error}") from error
    return target


def decode_steps(base: Adapter, blob: bytes) -> dict[str, NDArray[np.float32]]:
    """`base` with every body of `blob` added (`codec.steps`); bounded by `base` as well."""
    target = {name: np.asarray(base[name], dtype=np.float32) for name in sorted(base)}
    shapes = {name: array.shape for name, array in target.items()}
    try:
        for body in split_bodies(blob):
            for name, change in decode_body(body, shapes).items():
                target[name] = change.added_to(target[name])
    except CodecError as error:
        raise UpdateError(f"the update does not decode: {error}") from error
    for name, array in target.items():
        if not np.isfinite(array).all():
            raise UpdateError(f"tensor {name!r} is not finite", reason=Reason.PROBE_NOT_FINITE)
    return target


def _check_entry(entry: TensorEntry, base: Adapter, kind: UpdateKind, raw_bytes: int) -> int:
    """Most raw bytes the entry may have; UpdateError if it does not fit `base`."""
    problem = ""
    try:
        layers = layers_of(entry.codec)
    except CodecError as error:
        raise UpdateError(str(error), reason=Reason.MANIFEST_INVALID) from error
    if entry.name not in base:
        problem = "is not in the adapter"
    elif tuple(entry.shape) != base[entry.name].shape:
        problem = f"has shape {entry.shape}, the adapter's has {base[entry.name].shape}"
    elif entry.offset < 0 or entry.length < 0 or entry.offset + entry.length > raw_bytes:
        problem = "lies outside the blob"
    elif len(entry.digest) != TENSOR_DIGEST_BYTES:
        problem = "has no digest"
    elif kind is UpdateKind.FULL and (len(layers) != 1 or layers[0] == EXACT):
        problem = "has a codec that needs a base in a full update"
    if problem:
        raise UpdateError(f"tensor {entry.name[:200]!r} {problem}", reason=Reason.MANIFEST_INVALID)
    return len(layers) * max_coded_bytes(base[entry.name].size)


def _decode_entry(
    entry: TensorEntry, kind: UpdateKind, base: NDArray[np.float32], raw: bytes
) -> NDArray[np.float32]:
    data = raw[entry.offset : entry.offset + entry.length]
    if hashlib.sha256(data).digest()[:TENSOR_DIGEST_BYTES] != entry.digest:
        raise UpdateError(
            f"tensor {entry.name!r} is not the manifest's", reason=Reason.DIGEST_MISMATCH
        )
    if kind is UpdateKind.FULL:
        values = decode_values(entry.codec, data, base.size)
    else:
        values = apply_tensor(entry.codec, data, base.reshape(-1))
    if not np.isfinite(values).all():
        raise UpdateError(f"tensor {entry.name!r} is not finite", reason=Reason.PROBE_NOT_FINITE)
    return values.reshape(base.shape)
