"""Manifests made up for tests: valid ones, to be broken one field at a time."""

from __future__ import annotations

import hashlib

from driftline_shared.update import Manifest, TensorEntry, UpdateKind


def make_manifest(
    *, blob: bytes = b"blob", target_version: int = 2, kind: UpdateKind = UpdateKind.DELTA
) -> Manifest:
    """From version `target_version - 1`; its two tensors fill 64 raw bytes."""
    return Manifest(
        pair="tiny",
        base_model="ba5e" * 16,
        token_space="70ce" * 16,
        base_version=target_version - 1,
        target_version=target_version,
        base_digest=hashlib.sha256(b"base").digest(),
        target_digest=hashlib.sha256(b"target").digest(),
        kind=kind,
        tensors=(
            TensorEntry(
                name="layers.0.a", shape=(4, 8), codec="sparse4", offset=0, length=40,
                digest=b"12345678",
            ),
            TensorEntry(
                name="layers.0.b", shape=(3,), codec="dense", offset=40, length=24,
                digest=b"abcdefgh",
            ),
        ),
        blob_digest=hashlib.sha256(blob).digest(),
        blob_bytes=len(blob),
        raw_bytes=64,
        created_unix_s=1_700_000_000,
        expires_unix_s=1_800_000_000,
        gate={"agreement": 0.75, "source": 0.5},
        round_id="round-000007",
        num_samples=300,
        signature=b"",
    )  # fmt: skip
