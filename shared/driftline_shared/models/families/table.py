"""Every Hugging Face family by its `model_type`. A new one is a file, a line here, and a line in
`driftline_shared.pair.families`, which says where its parts lie without torch.
"""

from __future__ import annotations

from pathlib import Path

from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.families.idefics3 import Idefics3Model
from driftline_shared.models.families.llava import LlavaModel
from driftline_shared.models.families.llava_onevision import LlavaOnevisionModel
from driftline_shared.models.families.qwen2_5_vl import Qwen25VlModel
from driftline_shared.models.families.qwen3_vl import Qwen3VlModel
from driftline_shared.pair.families import anatomy_of, read_config

FAMILIES: dict[str, type[FamilyModel]] = {
    "llava": LlavaModel,
    "llava_onevision": LlavaOnevisionModel,
    "qwen2_5_vl": Qwen25VlModel,
    "qwen3_vl": Qwen3VlModel,
    "idefics3": Idefics3Model,
    "smolvlm": Idefics3Model,
}


def family_of(model_dir: Path) -> type[FamilyModel]:
    """The class for the `model_type` that a checkpoint's config names; PairError if unknown."""
    anatomy_of(model_dir)  # names the families that there are, where this is none
    return FAMILIES[read_config(model_dir)["model_type"]]
