"""One file per Hugging Face family; this table names them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from driftline_shared.pair.families import anatomy_of, read_config

if TYPE_CHECKING:
    from driftline_shared.models.families.base import FamilyModel


def family_of(model_dir: Path) -> type[FamilyModel]:
    """The class for the `model_type` that a checkpoint's config names; PairError if unknown."""
    from driftline_shared.models.families.idefics3 import Idefics3Model
    from driftline_shared.models.families.llava import LlavaModel
    from driftline_shared.models.families.llava_onevision import LlavaOnevisionModel
    from driftline_shared.models.families.qwen2_5_vl import Qwen25VlModel
    from driftline_shared.models.families.qwen3_vl import Qwen3VlModel

    families: dict[str, type[FamilyModel]] = {
        "llava": LlavaModel,
        "llava_onevision": LlavaOnevisionModel,
        "qwen2_5_vl": Qwen25VlModel,
        "qwen3_vl": Qwen3VlModel,
        "idefics3": Idefics3Model,
        "smolvlm": Idefics3Model,
    }
    anatomy_of(model_dir)  # says which families there are, where this is none
    return families[read_config(model_dir)["model_type"]]
