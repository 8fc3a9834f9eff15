"""Which families can be exported: `model_type` of the student -> what is its own."""

from __future__ import annotations

from driftline_shared.models.export.families.family import FamilyGraphs
from driftline_shared.models.export.families.idefics3 import Idefics3Graphs
from driftline_shared.models.export.families.llava import LlavaGraphs

FAMILIES: dict[str, FamilyGraphs] = {
    "llava": LlavaGraphs(),
    "idefics3": Idefics3Graphs(),
    "smolvlm": Idefics3Graphs(),
}
