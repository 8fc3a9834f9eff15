"""One side of an assembled pair: pretrained parts and trained changes become a LLaVA checkpoint.

A pair ships, per side, `<side>.safetensors`: the projector (`projector.linear_1.weight`, ...), and
for each linear layer of the language model that was changed the low-rank factors `<place>.A` (r,
in) and `<place>.B` (out, r), float16. Its metadata names the kept layers of the base and the scale
of the change. W + scale * B A is computed in float64 and rounded once to float16.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from driftline_shared.assembly import smollm2
from driftline_shared.assembly.packages import Tensors, read_vision_tower
from driftline_shared.errors import PairError

if TYPE_CHECKING:
    from transformers import LlavaConfig

IMAGE_MEAN, IMAGE_STD = 127 / 255, 128 / 255
"""What EfficientNet-Lite was trained with, for values in 0..1."""

PREPARATION = {
    "image_processor_type": "SiglipImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [IMAGE_MEAN] * 3,
    "image_std": [IMAGE_STD] * 3,
}
"""Spelled out: it is part of the token space's digest, which no release of a library may move."""

_MAX_ANSWER_TOKENS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What was trained of one side. `layers`: the base's layers it keeps, in order."""

    layers: tuple[int, ...]
    scale: float
    tensors: Tensors


def write_trained(
    path: Path, tensors: Mapping[str, NDArray[Any]], *, layers: Sequence[int], alpha: float
) -> None:
    """Writes one side's file. The scale of the change is alpha / rank."""
    rank = next(value.shape[0] for name, value in tensors.items() if name.endswith(".A"))
    metadata = {"layers": json.dumps(list(layers)), "scale": repr(alpha / rank)}
    half = {k: np.ascontiguousarray(v, dtype=np.float16) for k, v in tensors.items()}
    save_file(half, path, metadata=metadata)


def read_trained(path: Path) -> Trained:
    """What `write_trained` wrote. Raises PairError for any other file."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        layers = tuple(int(number) for number in json.loads(metadata["layers"]))
        return Trained(layers=layers, scale=float(metadata["scale"]), tensors=tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise PairError(f"{path} is not a file of trained weights: {error!r}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The pretrained parts, read once for both sides. `reader`: the open GGUF file."""

    reader: Any
    language: Tensors
    tower: Tensors


def read_parts() -> Parts:
    """Both packages' weights in memory (about 0.6 GB). Raises PairError where one is missing."""
    reader = smollm2.open_gguf()
    return Parts(
        reader=reader, language=smollm2.read_language_model(reader), tower=read_vision_tower()
    )


def write_checkpoint(folder: Path, parts: Parts, trained: Trained) -> None:
    """Writes a whole checkpoint folder that transformers loads as it is."""
    from transformers import GenerationConfig

    folder.mkdir(parents=True)
    tensors = {f"vision_tower.{name}": value for name, value in parts.tower.items()}
    tensors |= {
        f"language_model.model.{name}": value
        for name, value in merged(parts.language, trained).items()
    }
    tensors |= {
        f"multi_modal_projector.{name.removeprefix('projector.')}": value
        for name, value in trained.tensors.items()
        if name.startswith("projector.")
    }
    # Safetensors writes an array's memory as it lies: a transposed view would come back scrambled.
    whole = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    llava_config(len(trained.layers)).save_pretrained(folder)
    GenerationConfig(
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        do_sample=False,
        max_new_tokens=_MAX_ANSWER_TOKENS,
    ).save_pretrained(folder)
    smollm2.tokenizer(parts.reader).save_pretrained(folder)
    preparation = json.dumps(PREPARATION, indent=2, sort_keys=True)
    (folder / "preprocessor_config.json").write_text(preparation + "\n", encoding="utf-8")


def merged(base: Tensors, trained: Trained) -> Tensors:
    """The language model with the changes in it, float16; layers numbered as they are kept.

    Raises PairError where a change does not fit the weight that it changes.
    """
    try:
        kept = kept_layers(base, trained.layers)
        language = {k: v for k, v in trained.tensors.items() if not k.startswith("projector.")}
        for name in (name for name in language if name.endswith(".A")):
            place = name.removesuffix(".A")
            low, high = language[name], language[f"{place}.B"]
            change = trained.scale * (high.astype(np.float64) @ low.astype(np.float64))
            kept[f"{place}.weight"] = kept[f"{place}.weight"].astype(np.float64) + change
    except (KeyError, ValueError) as error:
        raise PairError(f"the trained weights do not fit SmolLM2-135M: {error!r}") from error
    return {name: value.astype(np.float16) for name, value in kept.items()}


def kept_layers(base: Tensors, layers: Sequence[int]) -> Tensors:
    """The language model with only these of its layers, numbered anew."""
    numbers = {str(old): new for new, old in enumerate(layers)}
    if len(numbers) != len(layers):
        raise ValueError(f"a layer is kept twice in {list(layers)}")
    kept = {}
    for name, value in base.items():
        parts = name.split(".")
        if parts[0] != "layers":
            kept[name] = value
        elif parts[1] in numbers:
            kept[".".join(["layers", str(numbers[parts[1]]), *parts[2:]])] = value
    return kept


def llava_config(num_layers: int) -> LlavaConfig:
    """SmolLM2 with `num_layers` layers behind EfficientNet-Lite0."""
    from transformers import LlavaConfig

    from driftline_shared.assembly.towers import register_towers
    from driftline_shared.assembly.towers.efficientnet_lite import EfficientNetLiteConfig

    register_towers()
    vision = EfficientNetLiteConfig()
    config = LlavaConfig(
        vision_config=vision,
        text_config=smollm2.language_config(num_layers),
        image_token_id=smollm2.IMAGE_ID,
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
        pad_token_id=2,
    )
    config.architectures = ["LlavaForConditionalGeneration"]
    return config
