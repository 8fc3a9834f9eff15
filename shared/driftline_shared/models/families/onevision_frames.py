"""How LLaVA-OneVision's clips are prepared: frames brought to the tower's size, scaled, normed.

The library's own video processor needs torchvision, which we do not. Its settings are read from
the checkpoint and carried out by Pillow; frames that have the tower's size come out the same, other
sizes are resized by Pillow's bicubic filter instead of torchvision's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from driftline_shared.pair.families import read_table

_MAX_BYTES = 1 << 20
_SETTINGS = (
    "do_resize",
    "size",
    "resample",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
)


def frame_processor(model_dir: Path, image_processor: Any) -> Any:
    """A transformers image processor for single frames, without tiles.

    A setting that the checkpoint does not give for videos is `image_processor`'s. Raises PairError
    when a file cannot be read.
    """
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    settings = {name: getattr(image_processor, name) for name in _SETTINGS}
    settings["size"] = dict(settings["size"])
    given = _video_settings(model_dir)
    settings |= {name: given[name] for name in _SETTINGS if given.get(name) is not None}
    return SiglipImageProcessorPil(**settings)


def _video_settings(model_dir: Path) -> dict[str, Any]:
    """What the first file says in which the library itself would look."""
    nested = _read(model_dir / "processor_config.json").get("video_processor")
    if isinstance(nested, dict):
        return nested
    return _read(model_dir / "video_preprocessor_config.json")


def _read(path: Path) -> dict[str, Any]:
    return read_table(path, _MAX_BYTES) if path.is_file() else {}
