"""Where the parts of each family lie: names of modules and tensors. Needs no torch.

One table serves everybody who must find a part without running it: the adapter (what it wraps),
the token space's digest (which tensors are the tower), quantization (what stays in floating point)
and `driftline models check`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from driftline_shared.errors import PairError

MAX_CONFIG_BYTES = 64 << 20
"""Most bytes of a JSON file beside a checkpoint's weights (64 MiB), where none else is said."""

LANGUAGE_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers in each block of every family's language model."""


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
    "llava_onevision": replace(
        _LLAVA,
        preparation=(*_LLAVA.preparation, "vision_aspect_ratio", "image_grid_pinpoints"),
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
    return read_table(model_dir / "config.json")


def read_table(path: Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """The JSON object in a file. Raises PairError for a larger file and for anything else in it."""
    try:
        if path.stat().st_size > max_bytes:
            raise PairError(f"{path} has more than {max_bytes} bytes: too many to be read")
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PairError(f"{path} cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise PairError(f"{path} holds no JSON object")
    return table


def _known(kind: Any, where: object) -> Anatomy:
    if kind not in ANATOMY:
        raise PairError(f"{where}: family {kind!r} is not known; known are {sorted(ANATOMY)}")
    return ANATOMY[kind]
