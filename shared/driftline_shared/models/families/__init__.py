"""One file per Hugging Face family; this table names them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from driftline_shared.errors import PairError
from driftline_shared.models.anatomy import read_config

if TYPE_CHECKING:
    from driftline_shared.models.families.base import FamilyModel


def family_of(model_dir: Path) -> type[FamilyModel]:
    """The class for the `model_type` that the checkpoint's config names."""
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
    kind = read_config(model_dir).get("model_type")
    if kind not in families:
        raise PairError(f"{model_dir}: family {kind!r} is not known; known are {sorted(families)}")
    return families[str(kind)]
