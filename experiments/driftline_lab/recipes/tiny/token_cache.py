"""Tokens of every picture in every domain, computed once and kept as fp16 files.

One file per (domain, seed), mirrored pictures apart: `<domain>-<seed>.safetensors` with `ids` (N,)
int64 and `tokens` (N, V, D) fp16. Training reads these and never runs the tower.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers import SiglipVisionModel

from driftline_lab.data.domains import DOMAINS
from driftline_lab.drift.base import Picture
from driftline_lab.recipes.tiny.tower import encode, normalize_pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedTokens:
    """`tokens`: (N, V, D) fp16, row i belongs to picture `ids[i]`; `row_of` inverts `ids`."""

    ids: NDArray[np.int64]
    tokens: NDArray[np.float16]
    row_of: dict[int, int]


def encode_pictures(
    tower: SiglipVisionModel, pictures: Iterable[Picture], *, batch_size: int = 128
) -> NDArray[np.float16]:
    """(N, V, D) fp16 tokens of the pictures, in order."""
    done: list[NDArray[np.float16]] = []
    batch: list[Picture] = []

    def flush() -> None:
        with torch.inference_mode():
            tokens = encode(tower, normalize_pixels(np.stack(batch)))
        done.append(tokens.half().numpy())
        batch.clear()

    for picture in pictures:
        batch.append(picture)
        if len(batch) == batch_size:
            flush()
    if batch:
        flush()
    return np.concatenate(done)


def cache_tokens(
    folder: Path,
    tower: SiglipVisionModel,
    domain: str,
    image_ids: Iterable[int],
    *,
    seed: int,
    mirrored: bool = False,
) -> CachedTokens:
    """The tokens of `image_ids` in `domain`, from the folder or computed and written there."""
    path = folder / f"{domain}-{seed}{'-mirrored' if mirrored else ''}.safetensors"
    ids = np.asarray(list(image_ids), dtype=np.int64)
    if path.exists():
        stored = load_file(path)
        if np.array_equal(stored["ids"], ids):
            return _cached(stored["ids"], stored["tokens"])
    pictures = (DOMAINS[domain].picture(int(i), seed=seed) for i in ids)
    if mirrored:
        pictures = (picture[:, ::-1] for picture in pictures)
    tokens = encode_pictures(tower, pictures)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"ids": ids, "tokens": tokens}, path)
    return _cached(ids, tokens)


def _cached(ids: NDArray[np.int64], tokens: NDArray[np.float16]) -> CachedTokens:
    return CachedTokens(
        ids=ids, tokens=tokens, row_of={int(image_id): row for row, image_id in enumerate(ids)}
    )
