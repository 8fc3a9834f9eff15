"""Layers at which an export's language model is cut, for compressors that drop tokens there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressed_model import facts_of
from driftline_shared.models.compression.table import configured
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.pair.export_file import MAX_CUTS
from driftline_shared.program.compressor import CompressorChoice


def needed_cuts(compressors: Iterable[CompressorChoice], model: FamilyModel) -> set[int]:
    """Layers before which any of `compressors` drops tokens. Raises ConfigError for a name or an
    option that is wrong.
    """
    return {
        layer
        for choice in compressors
        for layer in configured(choice.name, choice.options, facts_of(model)).cuts(model.num_tokens)
    }


def checked_cuts(cuts: Sequence[int], depth: int) -> tuple[int, ...]:
    """`cuts` of a language model of `depth` layers. Raises ConfigError for layers that it cannot be
    cut at.
    """
    if len(cuts) > MAX_CUTS or any(a >= b for a, b in pairwise((0, *cuts, depth))):
        raise ConfigError(
            f"--cut {', '.join(map(str, cuts))}: this language model has {depth} layers, so it can "
            f"be cut before {_where(depth)}"
        )
    return tuple(cuts)


def _where(depth: int) -> str:
    if depth <= 2:
        return "layer 1" if depth == 2 else "none of them"
    return f"layers 1 to {depth - 1}, at {min(MAX_CUTS, depth - 1)} of them at most"


def piece_file(file: str, number: int) -> str:
    """The file of the layers behind cut `number`, beside that of the layers before the first."""
    return file.replace(".onnx", f".{number}.onnx") if number else file


def look_file(kind: str, number: int) -> str:
    """The file that looks at what enters the layers behind cut `number`, rounded as they are."""
    return f"look.{kind}.{number}.onnx"
