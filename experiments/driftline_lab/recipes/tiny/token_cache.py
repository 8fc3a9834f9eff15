"""Tokens of every picture in every domain, computed once and kept as fp16 files.

One file per (domain, seed), mirrored pictures apart: `<domain>-<seed>.safetensors` with `ids` (N,)
int64 and `tokens` (N, V, D) fp16, 16 KB a picture; `augmented` stands for a domain. Training reads
these and never runs the tower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers import SiglipVisionModel

from driftline_lab.data.domains import DOMAINS
from driftline_lab.data.easyvqa import read_picture
from driftline_lab.drift.base import Picture
from driftline_lab.recipes.tiny.augmentation.mixture import augmented
from driftline_lab.recipes.tiny.tower import encode, normalize_pixels


def encode_pictures(
    tower: SiglipVisionModel, pictures: Iterable[Picture], *, batch_size: int = 128
) -> NDArray[np.float16]:
    """(N, V, D) fp16 tokens of the pictures, in order."""
    done, left = [], iter(pictures)
    while batch := list(islice(left, batch_size)):
        with torch.inference_mode():
            tokens = encode(tower, normalize_pixels(np.stack(batch)))
        done.append(tokens.half().numpy())
    return np.concatenate(done)


def cache_tokens(
    folder: Path,
    tower: SiglipVisionModel,
    domain: str,
    image_ids: Iterable[int],
    *,
    seed: int,
    mirrored: bool = False,
) -> NDArray[np.float16]:
    """(N, V, D) tokens of `image_ids` in `domain`, from the folder or made and written there."""

    def draw(image_id: int) -> Picture:
        picture = DOMAINS[domain].picture(image_id, seed=seed)
        return picture[:, ::-1] if mirrored else picture

    path = folder / f"{domain}-{seed}{'-mirrored' if mirrored else ''}.safetensors"
    return _cached(path, tower, image_ids, draw)


def cache_augmented(
    folder: Path, tower: SiglipVisionModel, image_ids: Iterable[int], *, seed: int
) -> NDArray[np.float16]:
    """(N, V, D) tokens of `image_ids`, each augmented once; from the folder or written there."""

    def draw(image_id: int) -> Picture:
        return augmented(read_picture(image_id), seed=seed, image_id=image_id)

    return _cached(folder / f"augmented-{seed}.safetensors", tower, image_ids, draw)


def _cached(
    path: Path,
    tower: SiglipVisionModel,
    image_ids: Iterable[int],
    draw: Callable[[int], Picture],
) -> NDArray[np.float16]:
    ids = np.asarray(list(image_ids), dtype=np.int64)
    if path.exists():
        stored = load_file(path)
        if np.array_equal(stored["ids"], ids):
            return stored["tokens"]
    tokens = encode_pictures(tower, (draw(int(i)) for i in ids))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"ids": ids, "tokens": tokens}, path)
    return tokens
