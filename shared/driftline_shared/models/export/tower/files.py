"""The tower's files of an export: its graph in float32 and int8, and `reads`, all held to torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.errors import PairError
from driftline_shared.models.compression.compressed_model import facts_of
from driftline_shared.models.compression.compressor import Options, TokenCompressor
from driftline_shared.models.compression.rows.rows import TowerTokens
from driftline_shared.models.compression.tower import look
from driftline_shared.models.export.agreement import session
from driftline_shared.models.export.families.family import FamilyGraphs
from driftline_shared.models.export.preparation import picture_shape
from driftline_shared.models.export.tower.graph import quantize_tower, trace_tower
from driftline_shared.models.export.tower.reads import FILE, hidden_depths, write_reads
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.pair.image_steps import pixels_of
from driftline_shared.pair.image_table import ImageTable
from driftline_shared.pair.tower_table import READS

MAX_ERROR = 1e-4
"""Largest error of the fp32 graphs, as a share of what torch says."""

MAX_TOKEN_ERROR = 0.001
"""Largest relative squared error of the int8 tower's tokens."""

CALIBRATED = 32
"""Probe pictures that an int8 tower with fixed scales is calibrated with."""

_KEPT = (0, 3, 6, 9)
"""Numbers of first layers that are tried to stay in fp32 until tokens change little enough."""

Pictures = Sequence[NDArray[np.uint8]]


def write_tower(
    name: str,
    model: FamilyModel,
    own: FamilyGraphs,
    image: ImageTable,
    probe: Pictures,
    folder: Path,
    report: Callable[[str], None],
) -> tuple[str, str]:
    """The file that int8 and int4 of the pair `name` read pictures with, and why it is that one.
    `probe`: pictures to calibrate int8 with, none where the pair has none.

    Raises PairError where a graph says other than the tower.
    """
    report("writing the vision tower")
    fp32, int8 = folder / "tower.fp32.onnx", folder / "tower.int8.onnx"
    rng = np.random.default_rng(0)
    blank = np.zeros(picture_shape(image.num_frames, 32, 32), dtype=np.uint8)
    shape = pixels_of(blank, image).shape
    trace_tower(
        model.net,
        own.tower(model),
        rng.standard_normal((2, *shape)).astype(np.float32),
        fp32,
        hidden=hidden_depths(model),
    )
    pictures = list(probe) or random_pictures(image.num_frames)
    pixels = np.stack([pixels_of(picture, image) for picture in pictures])
    exact = model.encode(pictures).cpu().numpy()
    off = _relative_error(tokens_of(fp32, pixels), exact)
    if off > MAX_ERROR:
        raise PairError(
            f"{name}: the tower's graph gives other tokens than the tower (relative error "
            f"{off:.2g}); report this pair's tower"
        )
    if hidden_depths(model):
        write_reads(model, folder / FILE)
        _check_reads(name, model, fp32, folder / FILE, pictures[0], pixels[:1])
    if not probe:
        return fp32.name, "fp32: the pair has no probe pictures to calibrate int8 with"
    report("rounding the vision tower")
    # Pictures that were not calibrated with, where there are as many.
    unseen = slice(CALIBRATED if len(pixels) >= 2 * CALIBRATED else 0, None)
    for kept in _KEPT:
        quantize_tower(fp32, pixels[:CALIBRATED], int8, kept=kept)
        error = _relative_error(tokens_of(int8, pixels[unseen]), exact[unseen])
        if error <= MAX_TOKEN_ERROR:
            rest = f", its first {kept} layers in fp32" if kept else ""
            return int8.name, f"int8{rest}: tokens change by {error:.2%}"
    int8.unlink()
    return fp32.name, f"fp32: int8 changes tokens by {error:.2%}, over {MAX_TOKEN_ERROR:.1%}"


def tokens_of(tower: Path, pixels: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """(N, V, D_v) that a graph gives of pictures, one by one."""
    graph = session(tower)
    return np.concatenate([graph.run(["tokens"], {"pixels": one[None]})[0] for one in pixels])


def random_pictures(frames: int) -> list[np.ndarray]:
    """Two pictures, or clips."""
    rng, shape = np.random.default_rng(0), picture_shape(frames, 64, 64)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(2)]


def _relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """1 - R^2 of tokens (N, V, D_v), over all channels."""
    spread = np.square(wanted - wanted.mean(axis=(0, 1))).sum()
    return float(np.square(found - wanted).sum() / max(spread, 1e-12))


class _Everything(TokenCompressor):
    """Asks for all that `reads` gives, and remembers it."""

    needs = frozenset({"attention", "keys", "head_attention", "head_keys"})
    seen: TowerTokens

    def on_vision(self, tokens: TowerTokens, question: Tensor | None) -> TowerTokens:
        self.seen = tokens
        return tokens


def _check_reads(
    name: str,
    model: FamilyModel,
    tower: Path,
    reads: Path,
    picture: NDArray[np.uint8],
    pixels: np.ndarray,
) -> None:
    """Raise PairError unless the graph reads of one picture what torch does."""
    method = _Everything(Options(), facts_of(model))
    look(model, method, picture, "")
    graph: Any = session(reads)
    hidden = [one.name for one in graph.get_inputs()]
    given = session(tower).run(hidden, {"pixels": pixels})
    found = graph.run(READS, dict(zip(hidden, given, strict=True)))
    for what, (got,) in zip(READS, found, strict=True):
        wanted = getattr(method.seen, what).cpu().numpy()
        off = float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-12))
        if off > MAX_ERROR:
            raise PairError(
                f"{name}: the graph {FILE} gives another {what} of the tower than torch (by "
                f"{off:.2g} of the largest); report this pair's tower"
            )
