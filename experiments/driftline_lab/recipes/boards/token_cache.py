"""Tokens of drawn views, computed once and kept as fp16 files.

One file per domain: `<domain>.safetensors` with `numbers` (N,) int64, `tokens` (N, V, D) fp16 and
`squares` (N, 64) int64. Training reads these and never runs the tower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers import SiglipVisionModel

from driftline_lab.data.boards.views import view
from driftline_lab.recipes.tiny.token_cache import encode_pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class Boards:
    """Views of a domain. `numbers` (N,), `tokens` (N, V, D) fp16, `squares` (N, 64) piece codes."""

    domain: str
    numbers: NDArray[np.int64]
    tokens: NDArray[np.float16]
    squares: NDArray[np.int64]


def read_boards(tower: SiglipVisionModel, domain: str, numbers: Sequence[int]) -> Boards:
    """Draws the views of those numbers and encodes them."""
    shown = [view(domain, number) for number in numbers]
    return Boards(
        domain=domain,
        numbers=np.asarray(numbers, dtype=np.int64),
        tokens=encode_pictures(tower, (each.picture for each in shown)),
        squares=np.stack([each.squares for each in shown]),
    )


def cached_boards(
    folder: Path, tower: SiglipVisionModel, domain: str, numbers: Sequence[int]
) -> Boards:
    """`read_boards`, from the folder or made and written there."""
    path = folder / f"{domain}.safetensors"
    if path.exists():
        stored = load_file(path)
        if np.array_equal(stored["numbers"], numbers):
            return Boards(domain=domain, **stored)
    made = read_boards(tower, domain, numbers)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({"numbers": made.numbers, "tokens": made.tokens, "squares": made.squares}, part)
    part.replace(path)
    return made
