"""An adapter as the directory that `peft` reads and writes: adapter_config.json and safetensors.

Our tensor names are short because each travels in every manifest; peft's spell out the module.
The model is built on the meta device to learn peft's names: no weight is loaded, however large.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from driftline_shared.errors import UpdateError
from driftline_shared.models.adapters import slots
from driftline_shared.models.whole import skeleton
from driftline_shared.pair.pair import Pair
from driftline_shared.update import Adapter

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

MAX_CONFIG_BYTES = 1 << 20
MAX_WEIGHTS_BYTES = 1 << 31

_NO_FILE = "Name an adapter that is there; a device at version 0 has none yet."
_NO_ADAPTER = "Name an adapter's .safetensors file, whole."


def read_adapter(path: Path) -> dict[str, Any]:
    """The adapter in one of our own .safetensors files. Raises UpdateError when it is none."""
    return {name: tensor.float().numpy() for name, tensor in _read(path).items()}


def export_adapter(adapter: Adapter, pair: Pair, out: Path) -> None:
    """Write `adapter` as a PEFT directory for the student of `pair`.

    `PeftModel.from_pretrained(base, out)` then gives the device's logits. Raises UpdateError when
    the adapter does not fit the pair, or `out` holds something else.
    """
    if out.exists() and any(out.iterdir()) and not (out / CONFIG).is_file():
        raise UpdateError(f"{out} holds other files; give an empty or new folder")
    model = _wrapped(pair)
    names = _peft_names(model)
    odd = sorted(names.keys() ^ adapter.keys())
    if odd:
        raise UpdateError(f"the adapter is not one of pair {pair.name}: {odd[:3]} on one side only")
    config = model.peft_config[slots.ACTIVE]
    config.base_model_name_or_path = pair.student.id or str(pair.student_dir)
    config.revision = pair.student.revision
    config.inference_mode = True
    out.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(out)
    tensors = {names[short]: torch.tensor(adapter[short]).contiguous() for short in sorted(names)}
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})


def import_adapter(folder: Path, pair: Pair) -> dict[str, Any]:
    """The adapter in a PEFT directory, under our names, float32.

    Raises UpdateError when it was made for other modules, ranks or scalings than the pair's.
    """
    _check_config(folder, pair)
    path, model = folder / WEIGHTS, _wrapped(pair)
    tensors, names = _read(path), _peft_names(model)
    missing = sorted(set(names.values()) - tensors.keys())
    more = sorted(tensors.keys() - set(names.values()))
    if missing or more:
        raise UpdateError(
            f"{path} is no adapter of pair {pair.name}: lacks {missing[:2]}, has {more[:2]}"
        )
    shapes = {name: tuple(p.shape) for name, p in slots.parameters(model).items()}
    found = {short: tensors[full].float().numpy() for short, full in names.items()}
    for short, array in found.items():
        if array.shape != shapes[short]:
            raise UpdateError(f"{path}: {short} is {array.shape}, the pair has {shapes[short]}")
    return found


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.stat().st_size > MAX_WEIGHTS_BYTES:
            raise UpdateError(f"{path} is larger than {MAX_WEIGHTS_BYTES:,} bytes")
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise UpdateError(f"there is no file {path}", fix=_NO_FILE) from error
    except (OSError, SafetensorError) as error:
        raise UpdateError(f"{path} cannot be read: {error}", fix=_NO_ADAPTER) from error
    bad = sorted(name for name, t in tensors.items() if not torch.isfinite(t.float()).all())
    if bad:
        raise UpdateError(
            f"{path}: {bad[0]} and {len(bad) - 1} more hold NaN or infinity"
            if len(bad) > 1
            else f"{path}: {bad[0]} holds NaN or infinity",
            fix="Train it in bfloat16 or float32: float16 overflows.",
        )
    return tensors


def _wrapped(pair: Pair) -> Any:
    """The student wrapped by peft, without weights."""
    net = skeleton(pair.student_dir)
    with torch.device("meta"):
        return slots.wrap(net, pair.adapter)


def _peft_names(model: Any) -> dict[str, str]:
    """Our short name -> the name in peft's own file.

    peft derives its names from the parameters' own; small numbered tensors go through that and come
    out with the name they got.
    """
    from peft.utils import get_peft_model_state_dict

    held = slots.parameters(model)
    order = {id(parameter): number for number, parameter in enumerate(held.values())}
    numbered = {
        name: torch.tensor(order[id(parameter)])
        for name, parameter in model.named_parameters()
        if id(parameter) in order
    }
    saved = get_peft_model_state_dict(
        model, state_dict=numbered, adapter_name=slots.ACTIVE, save_embedding_layers=False
    )
    shorts = list(held)
    return {shorts[int(number)]: name for name, number in saved.items()}


def _check_config(folder: Path, pair: Pair) -> None:
    path = folder / CONFIG
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UpdateError(f"{path} is larger than {MAX_CONFIG_BYTES:,} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UpdateError(f"{path} cannot be read: {error}") from error
    wanted = {"peft_type": "LORA", "r": pair.adapter.rank, "lora_alpha": pair.adapter.alpha}
    plain = {"use_rslora": False, "use_dora": False, "bias": "none"}
    for key, value in (wanted | plain).items():
        if config.get(key, value) != value:
            raise UpdateError(f"{path}: {key} is {config.get(key)!r}, the pair's is {value!r}")
    for key in ("rank_pattern", "alpha_pattern"):
        if config.get(key):
            raise UpdateError(f"{path}: {key} is set; a pair has one rank and one alpha")
