"""Where the parts of each family lie: names of modules and tensors. Needs no torch.

One table serves everybody who must find a part without running it: the adapter (what it wraps),
the token space's digest (which tensors are the tower), quantization (what stays in floating point)
and `driftline models check`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftline_shared.errors import PairError


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """Module paths inside a checkpoint of one family, as transformers names them.

    `tower`, `projector`, `language`: the last path components of each part. `query_targets`: linear
    layers of the projector that the query adapter wraps, in the order of the forward pass.
    `not_tower`: parts below `tower` that belong to the projector. `preparation`: keys of
    config.json, a dot for each level, that decide what the tower's output is.
    """

    tower: str
    projector: str
    language: str
    query_targets: tuple[str, ...]
    not_tower: tuple[str, ...] = ()
    preparation: tuple[str, ...] = ()


_LLAVA = Anatomy(
    tower="vision_tower",
    projector="multi_modal_projector",
    language="language_model",
    query_targets=("linear_1", "linear_2"),
    preparation=("vision_feature_layer", "vision_feature_select_strategy"),
)

_IDEFICS3 = Anatomy(
    tower="vision_model",
    projector="connector.modality_projection",
    language="text_model",
    query_targets=("proj",),
    preparation=("scale_factor",),
)

ANATOMY: dict[str, Anatomy] = {
    "llava": _LLAVA,
    "llava_onevision": Anatomy(
        tower="vision_tower",
        projector="multi_modal_projector",
        language="language_model",
        query_targets=("linear_1", "linear_2"),
        preparation=(
            "vision_feature_layer",
            "vision_feature_select_strategy",
            "vision_aspect_ratio",
            "image_grid_pinpoints",
        ),
    ),
    "idefics3": _IDEFICS3,
    "smolvlm": _IDEFICS3,
    "qwen2_5_vl": Anatomy(
        tower="visual",
        projector="visual.merger",
        language="language_model",
        query_targets=("mlp.0", "mlp.2"),
        not_tower=("merger",),
        preparation=(
            "vision_config.spatial_merge_size",
            "vision_config.window_size",
            "vision_config.fullatt_block_indexes",
        ),
    ),
    "qwen3_vl": Anatomy(
        tower="visual",
        projector="visual.merger",
        language="language_model",
        query_targets=("linear_fc1", "linear_fc2"),
        not_tower=("merger", "deepstack_merger_list"),
        preparation=(
            "vision_config.spatial_merge_size",
            "vision_config.deepstack_visual_indexes",
        ),
    ),
}
"""`model_type` of a config.json -> where its parts are."""


def anatomy_of(model_dir: Path) -> Anatomy:
    """The anatomy of a checkpoint folder. Raises PairError for an unknown family."""
    return _known(read_config(model_dir).get("model_type"), model_dir)


def anatomy_of_model(model: Any) -> Anatomy:
    """The anatomy of a loaded transformers model, wrapped by peft or not."""
    return _known(model.config.model_type, type(model).__name__)


def read_config(model_dir: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder. Raises PairError when it cannot be read."""
    try:
        config: dict[str, Any] = json.loads((model_dir / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise PairError(f"{model_dir / 'config.json'} cannot be read: {error}") from error
    return config


def _known(kind: Any, where: object) -> Anatomy:
    if kind not in ANATOMY:
        raise PairError(f"{where}: family {kind!r} is not known; known are {sorted(ANATOMY)}")
    return ANATOMY[kind]
