"""Fit what a pair needs beside its weights: token space statistics, and the gate's calibration
scores.

Reads the pair's source calibration set only (`source.safetensors`, `source.jsonl`), never a stream
or a test set. Writes `token_space.safetensors`, `gate.safetensors` and the token space's digest in
`pair.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from driftline_device.runtime.runtime import Answer
from driftline_device.runtime.torch import TorchRuntime
from driftline_device.sampling import gate
from driftline_device.sampling.ood import ood_score
from driftline_shared.errors import PairError
from driftline_shared.models.pair import Pair, load_pair, token_space_digest
from driftline_shared.token_space import pool, pooled_statistics
from driftline_shared.tokens import VisualTokens

TAIL = 0.0005
"""Share of values beyond the codec's range at each end: saturating them buys finer steps for the
rest.
"""

PASSES = 4
"""Dropout passes of `mutual_information`, as on the device."""


def fit_token_space(folder: Path) -> str:
    """Channel ranges for the codecs and pooled statistics for `ood`; returns the token space's
    digest.

    Raises PairError when teacher and student do not share a vision tower.
    """
    digest = token_space_digest(folder / "student")
    if digest != token_space_digest(folder / "teacher"):
        raise PairError(f"{folder}: teacher and student have different vision towers")
    tokens = load_file(folder / "source.safetensors")["tokens"].astype(np.float32)  # (N, V, D)
    values = tokens.reshape(-1, tokens.shape[-1])
    low, high = np.quantile(values, [TAIL, 1 - TAIL], axis=0)
    mean, precision = pooled_statistics(pool(tokens))
    arrays = {"low": low, "high": high, "mean": mean, "precision": precision}
    save_file(
        {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()},
        folder / "token_space.safetensors",
    )
    spec = folder / "pair.toml"
    spec.write_text(re.sub(r'(?m)^digest = ".*"$', f'digest = "{digest}"', spec.read_text()))
    return digest


def fit_gate(folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Score the student, as the device runs it, on the source calibration set, one score kind an
    array.
    """
    pair = load_pair(folder)
    runtime = TorchRuntime(pair, threads=1)
    source = pair.source_set()
    rows = _few_questions_an_image(source.rows)
    scores = []
    for done, (image, question) in enumerate(rows):
        tokens = _all_tokens(source.tokens[image], pair)
        answer = runtime.answer_tokens([tokens], [question])[0]
        scores.append(_scores(runtime, pair, question, answer, seed=done))
        if progress is not None:
            progress(done + 1, len(rows))
    arrays = {kind: array.astype(np.float32) for kind, array in gate.calibrate(scores).items()}
    save_file(arrays, folder / "gate.safetensors")


def _scores(
    runtime: TorchRuntime, pair: Pair, question: str, answer: Answer, *, seed: int
) -> dict[str, float]:
    return {
        "entropy": answer.scores["entropy"],
        "margin": answer.scores["margin"],
        "mutual_information": runtime.mutual_information(
            question, answer, passes=PASSES, seed=seed
        ),
        "ood": ood_score(answer.tokens, pair.token_space),
    }


def _all_tokens(values: NDArray[np.float32], pair: Pair) -> VisualTokens:
    grid = pair.token_space.grid
    positions = np.arange(grid.num_tokens, dtype=np.int32)
    return VisualTokens(values=values, positions=positions, grid=grid)


def _few_questions_an_image(
    rows: tuple[tuple[int, str, str], ...], each: int = 2
) -> list[tuple[int, str]]:
    """The first `each` questions of every image, spread over its list."""
    by_image: dict[int, list[str]] = {}
    for image, question, _ in rows:
        by_image.setdefault(image, []).append(question)
    chosen = []
    for image, questions in by_image.items():
        step = max(1, len(questions) // each)
        chosen += [(image, question) for question in questions[::step][:each]]
    return chosen
