"""Small good values of each kind, to be broken."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

from driftline_shared.codec.entropy import pack_segments
from driftline_shared.codec.regions import RegionEncoder, RegionSettings
from driftline_shared.codec.steps.body import Change, encode_body, join_bodies
from driftline_shared.codec.table import encode_exact, encode_layer
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.tokens import (
    CodedTokens,
    Grid,
    Regions,
    Sample,
    TokenSpace,
    VisualTokens,
)
from driftline_shared.update import Adapter, Manifest, TensorEntry, UpdateKind, adapter_digest

GRID = Grid(rows=4, cols=4)
WIDTH = 8
KEPT = np.asarray([0, 3, 5])
"""Places of the tokens that have regions."""

BASE: Adapter = {
    "a": np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8),
    "b": np.zeros(16, np.float32),
}
_LAYERS = ("fp32", "fp16")


def space() -> TokenSpace:
    """Of the tokens here."""
    return TokenSpace(
        digest="0" * 64,
        grid=GRID,
        low=np.full(WIDTH, -1.0, np.float32),
        high=np.full(WIDTH, 1.0, np.float32),
        mean=np.zeros(WIDTH, np.float32),
        precision=np.eye(WIDTH, dtype=np.float32),
    )


@cache
def good_tokens() -> tuple[CodedTokens, ...]:
    """Some of the tokens of a picture, and all, in each codec."""
    rng = np.random.default_rng(0)
    found = []
    for num in (5, GRID.num_tokens):
        tokens = VisualTokens(
            values=rng.uniform(-1, 1, (num, WIDTH)).astype(np.float32),
            positions=np.sort(rng.permutation(GRID.num_tokens)[:num]).astype(np.int32),
            grid=GRID,
        )
        found += [encode_tokens(tokens, space(), codec) for codec in ("int8", "int4")]
    return tuple(found)


@cache
def good_samples() -> tuple[Sample, ...]:
    """With and without what a sample may leave out."""
    return tuple(
        Sample(
            id=number.to_bytes(16, "big"),
            question="what is it?",
            answer="a thing é",
            tokens=tokens,
            regions=good_regions()[0] if number % 2 else None,
            scores={"entropy": 0.5, "margin": 0.25},
            created_unix_s=1_700_000_000,
            adapter_version=number,
        )
        for number, tokens in enumerate(good_tokens())
    )


@cache
def good_manifests() -> tuple[tuple[Manifest, bytes], ...]:
    """Manifests with their blobs: a delta, and full updates in each codec."""
    target = {name: array + np.float32(0.25) for name, array in BASE.items()}
    return (_update(target, "exact"), *(_update(target, codec) for codec in _LAYERS))


@cache
def good_steps() -> bytes:
    """A blob in the newest form."""
    shapes = {name: array.shape for name, array in BASE.items()}
    changes = {
        name: Change(np.arange(array.size).reshape(array.shape) % 5 - 2, 100)
        for name, array in BASE.items()
    }
    return join_bodies([encode_body(changes, shapes)])


def _update(target: Adapter, codec: str) -> tuple[Manifest, bytes]:
    entries, parts, offset = [], [], 0
    for name in sorted(target):
        values = np.ascontiguousarray(target[name]).reshape(-1)
        if codec == "exact":
            data = encode_exact(BASE[name].reshape(-1), values)
        else:
            data = encode_layer(codec, values)
        entries.append(
            TensorEntry(
                name=name, shape=tuple(target[name].shape), codec=codec, offset=offset,
                length=len(data), digest=hashlib.sha256(data).digest()[:8],
            )
        )  # fmt: skip
        parts.append(data)
        offset += len(data)
    blob = pack_segments(parts)
    manifest = Manifest(
        pair="fuzz",
        base_model="1" * 64,
        token_space="0" * 64,
        base_version=0,
        target_version=1,
        base_digest=adapter_digest(BASE),
        target_digest=adapter_digest(target),
        kind=UpdateKind.DELTA if codec == "exact" else UpdateKind.FULL,
        tensors=tuple(entries),
        blob_digest=hashlib.sha256(blob).digest(),
        blob_bytes=len(blob),
        raw_bytes=offset,
        created_unix_s=1_700_000_000,
    )
    return manifest, blob


@cache
def good_regions() -> tuple[Regions, ...]:
    """A mosaic, and a whole picture."""
    ramp = np.add.outer(np.arange(32) * 5, np.arange(32) * 3).astype(np.uint8)
    picture = np.stack([ramp, 255 - ramp, ramp // 2], axis=2)
    made = RegionEncoder(picture, GRID, RegionSettings())
    small = RegionEncoder(np.repeat(np.repeat(picture, 8, 0), 8, 1), GRID, RegionSettings())
    return (small.encode(KEPT), made.encode(np.arange(GRID.num_tokens)))
