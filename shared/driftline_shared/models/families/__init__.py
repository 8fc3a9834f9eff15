"""One file per Hugging Face family; this table names them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from driftline_shared.errors import PairError

if TYPE_CHECKING:
    from driftline_shared.models.multimodal import MultimodalModel


def family_of(model_dir: Path) -> Callable[..., MultimodalModel]:
    """The loader for the `model_type` that the checkpoint's config names."""
    from driftline_shared.models.families.llava import LlavaModel

    families: dict[str, Callable[..., MultimodalModel]] = {"llava": LlavaModel}
    try:
        kind = json.loads((model_dir / "config.json").read_text())["model_type"]
    except (OSError, ValueError, KeyError) as error:
        raise PairError(f"{model_dir}: config.json names no model_type ({error})") from error
    if kind not in families:
        raise PairError(f"{model_dir}: family {kind!r} is not known; known are {sorted(families)}")
    return families[kind]
