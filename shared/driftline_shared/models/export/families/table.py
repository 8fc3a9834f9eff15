"""Which families can be exported: `model_type` of the student -> what is its own."""

from __future__ import annotations

from typing import Any

from driftline_shared.models.export.families.family import FamilyGraphs
from driftline_shared.models.export.families.idefics3 import Idefics3Graphs
from driftline_shared.models.export.families.llava import LlavaGraphs
from driftline_shared.models.export.families.llava_onevision import OnevisionGraphs
from driftline_shared.models.export.families.onevision_clips import OnevisionClipGraphs
from driftline_shared.models.export.families.qwen2_5_vl import Qwen25VlGraphs
from driftline_shared.models.export.families.qwen3_vl import Qwen3VlGraphs

FAMILIES: dict[str, FamilyGraphs] = {
    "llava": LlavaGraphs(),
    "llava_onevision": OnevisionGraphs(),
    "idefics3": Idefics3Graphs(),
    "smolvlm": Idefics3Graphs(),
    "qwen2_5_vl": Qwen25VlGraphs(),
    "qwen3_vl": Qwen3VlGraphs(),
}

_CLIPS: dict[str, FamilyGraphs] = {"llava_onevision": OnevisionClipGraphs()}
"""Those of pairs that read clips."""


def graphs_of(family: str, model: Any) -> FamilyGraphs:
    """What is its own of a student of `FAMILIES`, by whether it reads pictures or clips."""
    canvas = model.canvas
    return (_CLIPS if canvas is not None and canvas.frames > 1 else FAMILIES)[family]
