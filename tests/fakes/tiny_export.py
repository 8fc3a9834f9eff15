"""The random pair of `tiny_pair` as an export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from driftline_shared.models.export.pair_export import export_pair
from driftline_shared.pair.pair import Pair, load_pair
from tests.fakes.tiny_pair import make_tiny_pair


def make_tiny_export(
    folder: Path, *, quantization: str = "nf4", cuts: Sequence[int] = ()
) -> tuple[Pair, Pair]:
    """Write the pair and its export, cut at these layers, below `folder`: both, loaded."""
    pair = load_pair(make_tiny_pair(folder / "pair", quantization=quantization))
    export_pair(pair, folder / "export", cuts=cuts, report=lambda _: None)
    return pair, load_pair(folder / "export")
