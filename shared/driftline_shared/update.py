"""Adapters as named arrays, their digests, and the manifest of an update between two versions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, with_config

TENSORS_FORMAT = 1
"""Of a manifest that names its tensors, each with a codec."""
STEPS_FORMAT = 2
"""Of a manifest that names none: the blob says by itself what changes, see `codec.steps`."""
MANIFEST_FORMAT = STEPS_FORMAT
"""The highest that is read here."""
MAX_TENSORS = 65_536
MAX_RAW_BYTES = 1 << 30
"""Most bytes an update may decompress to (1 GiB); checked before anything is allocated."""

Adapter = Mapping[str, NDArray[np.float32]]
"""An adapter: tensor name -> float32 array. Names are sorted wherever order matters."""


class UpdateKind(StrEnum):
    """A delta applies to one base version; a full update to any (it replaces all tensors)."""

    DELTA = "delta"
    FULL = "full"


_STORED = ConfigDict(extra="forbid", strict=True, ser_json_bytes="hex", val_json_bytes="hex")
"""Of pydantic, where a manifest is kept as JSON."""


@with_config(_STORED)
@dataclass(frozen=True, kw_only=True, slots=True)
class TensorEntry:
    """One tensor of an update: `offset` and `length` in bytes of the raw (decompressed) blob.

    `digest`: first 8 bytes of the sha256 of the coded bytes, to say which tensor broke.
    """

    name: str
    shape: tuple[int, ...]
    codec: str
    offset: int
    length: int
    digest: bytes


@with_config(_STORED)
@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What an update is: versions, tensors, sizes in bytes, sha256 digests, where it came from.

    `format`: `TENSORS_FORMAT`, or `STEPS_FORMAT` with no `tensors`, where `raw_bytes` is
    `blob_bytes`. `ik_head`: the P(IK) head fitted for the target version, as `p_ik.head` writes
    it; empty: none.
    """

    pair: str
    base_model: str
    token_space: str
    base_version: int
    target_version: int
    base_digest: bytes
    target_digest: bytes
    kind: UpdateKind
    tensors: tuple[TensorEntry, ...]
    blob_digest: bytes
    blob_bytes: int
    raw_bytes: int
    created_unix_s: int
    expires_unix_s: int = 0
    gate: dict[str, float] = field(default_factory=dict)
    round_id: str = ""
    num_samples: int = 0
    signature: bytes = b""
    ik_head: bytes = b""
    format: int = TENSORS_FORMAT


def adapter_digest(adapter: Adapter) -> bytes:
    """sha256 over names, shapes and little-endian float32 bytes, in name order: 32 bytes."""
    digest = hashlib.sha256()
    for name in sorted(adapter):
        array = np.ascontiguousarray(adapter[name], dtype="<f4")
        digest.update(f"{name}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.digest()


def adapter_form_bytes(adapter: Adapter) -> int:
    """Bytes of the form that `adapter_digest` reads."""
    names = (f"{name}\0{array.shape}\0".encode() for name, array in adapter.items())
    return sum(map(len, names)) + 4 * sum(array.size for array in adapter.values())


def adapter_fp16_bytes(adapter: Adapter) -> int:
    """Bytes of the adapter as plain fp16, the yardstick of an update's size."""
    return 2 * sum(array.size for array in adapter.values())
