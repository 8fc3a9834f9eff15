"""A pair folder that cloud and device take, whose weights say how it behaves.

Every weight of `level` holds one number, by which a round gets better; those of `harm` make a
device answer wrong where they are above one half.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from driftline_shared.tokens import Grid
from driftline_shared.update import Adapter

NAME = "chaos"
WORDS = ("red", "green", "blue", "yes")
GRID = Grid(rows=4, cols=4)
WIDTH = 8
NUM_PROBES = 12
HARMFUL = 0.5

_SHAPES = {"level": (32, 32), "harm": (16, 16)}
_EASY, _SPREAD = 0.1, 100


def first_adapter() -> Adapter:
    """Version 0."""
    rng = np.random.default_rng(0)
    return {name: rng.normal(0, 0.01, shape).astype(np.float32) for name, shape in _SHAPES.items()}


def is_harmful(adapter: Adapter) -> bool:
    """Whether a device that runs it answers wrong."""
    return float(adapter["harm"].mean()) > HARMFUL


def picture(word: int, *, hard: bool, noise: int = 0) -> NDArray[np.uint8]:
    """(4, 4, 3) uint8 whose answer is WORDS[word]; `noise` only makes pictures differ."""
    image = np.full((4, 4, 3), noise % 256, dtype=np.uint8)
    image[0, 0] = (word % len(WORDS), int(hard), 0)
    return image


def write_pair(folder: Path) -> Path:
    """The pair, in a new folder."""
    for side in ("teacher", "student"):
        (folder / side).mkdir(parents=True)
        (folder / side / "config.json").write_text('{"model_type": "llava"}', encoding="utf-8")
    save_file({"w": np.zeros(3, np.float32)}, folder / "student" / "model.safetensors")
    space = {
        "low": np.full(WIDTH, -1.0, np.float32),
        "high": np.full(WIDTH, 1.0, np.float32),
        "mean": np.zeros(WIDTH, np.float32),
        "precision": np.eye(WIDTH, dtype=np.float32),
    }
    save_file(space, folder / "token_space.safetensors")
    easy = np.full(_SPREAD, _EASY, np.float32)
    scores = dict.fromkeys(("entropy", "margin", "mutual_information", "ood"), easy)
    save_file({name: one.copy() for name, one in scores.items()}, folder / "gate.safetensors")
    (folder / "pair.toml").write_text(
        f'name = "{NAME}"\nprompt = "<image>{{question}}"\nmax_new_tokens = 4\n'
        '[student]\nquantization = "none"\n'
        f'[token_space]\ndigest = "{hashlib.sha256(NAME.encode()).hexdigest()}"\n'
        f"grid = {{ rows = {GRID.rows}, cols = {GRID.cols} }}\n",
        encoding="utf-8",
    )
    _write_probe_set(folder / "probe", range(NUM_PROBES))
    return folder


def _write_probe_set(folder: Path, numbers: Sequence[int]) -> None:
    folder.mkdir()
    rows = []
    for number in numbers:
        Image.fromarray(picture(number, hard=False, noise=number)).save(folder / f"{number}.png")
        answer = WORDS[number % len(WORDS)]
        row = {"image": f"{number}.png", "question": "what?", "answer": answer}
        rows.append(json.dumps(row))
    (folder / "probe.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
