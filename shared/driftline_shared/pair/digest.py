"""The digest of a vision tower and of how images are prepared for it. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from driftline_shared.errors import PairError
from driftline_shared.pair.families import Anatomy, anatomy_of, read_config, read_table
from driftline_shared.pair.weights import headers, read_tensor


def token_space_digest(model_dir: Path) -> str:
    """Hex sha256 of the vision tower's tensors and of how images are prepared for it.

    Two checkpoints with the same digest give the same tokens for the same image.
    """
    digest, parts = hashlib.sha256(), anatomy_of(model_dir)
    all_tensors = headers(model_dir)
    tensors = {_tower_name(key, parts): key for key in all_tensors if is_tower(key, parts)}
    if not tensors:
        raise PairError(f"{model_dir}: no {parts.tower} tensors in its safetensors files")
    for name, key in sorted(tensors.items()):
        array = read_tensor(all_tensors[key], key)
        digest.update(f"{name}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    config = read_config(model_dir)
    chosen = {key: _setting(config, key) for key in parts.preparation}
    kept = {
        k: v
        for k, v in image_preparation(model_dir).items()
        if k.startswith(("do_", "image_", "rescale", "resample", "size", "crop_", "max_image_size"))
    }
    # A processor has several makes that prepare images alike; which one saved it says nothing.
    if "image_processor_type" in kept:
        kept["image_processor_type"] = re.sub(r"(Fast|Pil)$", "", kept["image_processor_type"])
    digest.update(json.dumps([chosen, kept], sort_keys=True).encode())
    return digest.hexdigest()


def image_preparation(model_dir: Path) -> dict[str, Any]:
    """Settings of a checkpoint's image processor. Raises PairError where there are none."""
    own, shared = model_dir / "preprocessor_config.json", model_dir / "processor_config.json"
    try:
        # As transformers does: the newer file goes before the older one, where both say it.
        if shared.is_file() and "image_processor" in (table := read_table(shared)):
            return dict(table["image_processor"])
        return read_table(own)
    except (PairError, ValueError, KeyError, TypeError) as error:
        raise PairError(
            f"{model_dir} says nowhere how images are prepared: neither {own.name} nor an "
            f"image_processor in {shared.name} can be read ({error!r})"
        ) from error


def is_tower(key: str, parts: Anatomy) -> bool:
    """Whether the tensor `key` belongs to the tower."""
    _, found, inside = f".{key}".partition(f".{parts.tower}.")
    return bool(found) and inside.split(".")[0] not in parts.not_tower


def _setting(config: dict[str, Any], key: str) -> Any:
    """The value of `vision_config.window_size` and the like; None where config.json has none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _tower_name(key: str, parts: Anatomy) -> str:
    # Some releases of transformers wrap the tower's layers in one module more than others.
    inside = f".{key}".partition(f".{parts.tower}.")[2]
    return f"{parts.tower}.{inside.removeprefix('vision_model.')}"
