"""Writes those parts of a pair folder that are data: source tokens, their questions, probe set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from driftline_lab.drift.base import Picture

Asked = Iterable[tuple[str, str]]
"""Questions about one picture, with their answers."""


def write_source(folder: Path, tokens: NDArray[np.float16], asked: Iterable[Asked]) -> None:
    """The calibration pictures: tokens (N, V, D) fp16, and their questions as rows."""
    save_file({"tokens": np.ascontiguousarray(tokens)}, folder / "source.safetensors")
    _write_rows(folder / "source.jsonl", enumerate(asked))


def write_probe(
    folder: Path, pictures: Mapping[str, tuple[Picture, Asked]], *, optimize: bool = False
) -> None:
    """The device's self-check set: pictures as PNG by file name, with their questions."""
    probe = folder / "probe"
    probe.mkdir(parents=True, exist_ok=True)
    for name, (picture, _) in pictures.items():
        Image.fromarray(picture).save(probe / name, optimize=optimize)
    _write_rows(probe / "probe.jsonl", ((name, asked) for name, (_, asked) in pictures.items()))


def _write_rows(path: Path, asked: Iterable[tuple[int | str, Asked]]) -> None:
    rows = (
        {"image": image, "question": question, "answer": answer}
        for image, pairs in asked
        for question, answer in pairs
    )
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
