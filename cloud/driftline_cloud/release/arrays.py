"""Adapters, residuals and packed updates as safetensors bytes."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from driftline_cloud.blobs.store import BlobStore
from driftline_cloud.blobs.tensors import tensors_from_bytes, tensors_to_bytes
from driftline_cloud.release.packer import Packed
from driftline_shared.codec.adapters import adapter_from_bytes
from driftline_shared.errors import DataError, DriftlineError
from driftline_shared.update import TENSORS_FORMAT, TensorEntry, UpdateKind

Arrays = dict[str, NDArray[np.float32]]

_BLOB = "blob"


def adapter_of(store: BlobStore, key: str) -> Arrays:
    """The adapter kept as `key` in name order; DriftlineError (internal) if it was lost."""
    try:
        content = store.get(key)
        if content is None:
            raise DriftlineError(f"{key} of a release is gone from {store.place}")
        return adapter_from_bytes(content)
    except (OSError, SafetensorError) as error:
        raise DriftlineError(f"{key} of a release cannot be read: {error}") from error


def save_packed(store: BlobStore, key: str, packed: Packed) -> None:
    """Keep `packed` durably as one blob, between compressing and publishing."""
    arrays: dict[str, NDArray[np.generic]] = {_BLOB: np.frombuffer(packed.blob, dtype=np.uint8)}
    for prefix, tensors in (("adapter.", packed.adapter), ("residual.", packed.residual)):
        for name in sorted(tensors):
            arrays[prefix + name] = np.ascontiguousarray(tensors[name], dtype=np.float32)
    described = {
        "label": packed.label,
        "kind": packed.kind.value,
        "format": packed.format,
        "raw_bytes": packed.raw_bytes,
        "base_digest": packed.base_digest.hex(),
        "target_digest": packed.target_digest.hex(),
        "tensors": [
            [entry.name, entry.shape, entry.codec, entry.offset, entry.length, entry.digest.hex()]
            for entry in packed.tensors
        ],
    }
    store.put(key, tensors_to_bytes(arrays, {"packed": json.dumps(described)}))


def load_packed(store: BlobStore, key: str) -> Packed | None:
    """What `save_packed` kept; None if there is none that can be read."""
    try:
        content = store.get(key)
        if content is None:
            return None
        arrays, words = tensors_from_bytes(content)
        described = json.loads(words["packed"])
        entries = tuple(
            TensorEntry(
                name=name,
                shape=tuple(shape),
                codec=codec,
                offset=offset,
                length=length,
                digest=bytes.fromhex(digest),
            )
            for name, shape, codec, offset, length, digest in described["tensors"]
        )
        return Packed(
            label=described["label"],
            kind=UpdateKind(described["kind"]),
            format=described.get("format", TENSORS_FORMAT),
            tensors=entries,
            blob=arrays[_BLOB].tobytes(),
            raw_bytes=described["raw_bytes"],
            base_digest=bytes.fromhex(described["base_digest"]),
            target_digest=bytes.fromhex(described["target_digest"]),
            adapter=_part(arrays, "adapter."),
            residual=_part(arrays, "residual."),
        )
    except (DataError, KeyError, ValueError, TypeError):
        return None


def _part(arrays: dict[str, NDArray[np.float32]], prefix: str) -> Arrays:
    return {
        name.removeprefix(prefix): array
        for name, array in sorted(arrays.items())
        if name.startswith(prefix)
    }
