"""The adapter on a base model: peft LoRA on the projector (query adapter) and the language model,
plus norms.

A model holds one or two slots (peft adapter names); `ACTIVE` exists from the start. Tensor names
are short because each one travels in every manifest:

    projector.linear_1.A   projector.linear_1.B   layers.0.self_attn.q_proj.A
    layers.0.input_layernorm   norm
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline_shared.dropout import DropoutMasks
from driftline_shared.errors import UpdateError
from driftline_shared.pair.families import Anatomy, anatomy_of_model
from driftline_shared.pair.pair import AdapterSpec
from driftline_shared.update import Adapter

ACTIVE = "default"
SPARE = "spare"


def attach(model: Any, spec: AdapterSpec) -> Any:
    """Wrap `model` with a trainable adapter at version 0 in slot `ACTIVE`; returns the PeftModel.

    Version 0 changes no answer: LoRA's B is zero and norms are the base's. A is drawn from
    `spec.seed` by numpy, so that device and cloud hold the same version 0 bit for bit.
    """
    wrapped = wrap(model, spec)
    write(wrapped, initial(wrapped, spec))
    return wrapped


def wrap(model: Any, spec: AdapterSpec) -> Any:
    """Wrap `model` in a PeftModel with the slot `ACTIVE`, filled as peft fills it."""
    from peft import get_peft_model

    with _quiet():
        return get_peft_model(model, _config(model, spec), adapter_name=ACTIVE)


def add_slot(model: Any, slot: str = SPARE) -> None:
    """Add a second slot of the same shape; the active one stays active."""
    with _quiet():
        model.add_adapter(slot, model.peft_config[ACTIVE])
    use(model, ACTIVE)
    write(model, read(model, ACTIVE), slot)


def use(model: Any, slot: str) -> None:
    """Make `slot` the one that answers. Not atomic over layers: the caller holds off requests."""
    model.set_adapter(slot)
    model.requires_grad_(False)


def parameters(model: Any, slot: str = ACTIVE) -> dict[str, nn.Parameter]:
    """Short tensor name -> parameter of that slot, in name order."""
    found, parts = {}, anatomy_of_model(model)
    for name, parameter in model.named_parameters():
        short = _short_name(name, slot, parts)
        if short is not None:
            found[short] = parameter
    return dict(sorted(found.items()))


def initial(model: Any, spec: AdapterSpec) -> Adapter:
    """Version 0 for a model with that spec."""
    held = parameters(model)
    shapes = {name: tuple(parameter.shape) for name, parameter in held.items()}
    return drawn(shapes, lambda name: _array(held[name]), spec.seed)


def drawn(
    shapes: Mapping[str, tuple[int, ...]],
    norm: Callable[[str], NDArray[np.float32]],
    seed: int,
) -> Adapter:
    """Version 0 for tensors of these shapes; `norm` gives the base's weight of a norm by name."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in sorted(shapes.items()):
        if name.endswith(".A"):
            bound = 1.0 / np.sqrt(shape[1])
            tensors[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
        elif name.endswith(".B"):
            tensors[name] = np.zeros(shape, dtype=np.float32)
        else:
            tensors[name] = norm(name)
    return tensors


def read(model: Any, slot: str = ACTIVE) -> Adapter:
    """A copy of the slot's tensors, float32."""
    return {name: _array(parameter) for name, parameter in parameters(model, slot).items()}


def write(model: Any, adapter: Adapter, slot: str = ACTIVE) -> None:
    """Copy `adapter` into the slot. Raises UpdateError when names or shapes differ."""
    held = parameters(model, slot)
    if held.keys() != adapter.keys():
        odd = sorted(held.keys() ^ adapter.keys())
        raise UpdateError(f"the adapter does not fit this model: {odd[:3]} on one side only")
    with torch.no_grad():
        for name, parameter in held.items():
            array = adapter[name]
            if tuple(parameter.shape) != array.shape:
                raise UpdateError(
                    f"{name}: shape {array.shape}, the model has {tuple(parameter.shape)}"
                )
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))


@contextmanager
def dropout_passes(model: Any, masks: DropoutMasks) -> Iterator[None]:
    """Inside, every pass drops units of the projector's hidden layer and of each layer's two
    residual branches.

    MC dropout (Gal and Ghahramani, arXiv 1506.02142). LoRA's own dropout would do nothing at
    version 0, where B is zero, so the hidden activations of the projector and of the language model
    are dropped.
    """

    parts = anatomy_of_model(model)

    def drop_at(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        place = _short_place(name, parts)

        def drop(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            first, *rest = inputs
            mask = torch.from_numpy(masks.draw(place, first.shape))
            return (first * mask.to(first.device, first.dtype), *rest)

        return drop

    last = rf"{re.escape(parts.projector)}\.{re.escape(parts.query_targets[-1])}"
    places = re.compile(rf"({last}|{parts.language}\..*\.(o_proj|down_proj))$")
    handles = [
        module.register_forward_pre_hook(drop_at(name))
        for name, module in model.named_modules()
        if places.search(name)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _quiet() -> Iterator[None]:
    """peft asks transformers for a property by its old name; that is no news for our users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _config(model: Any, spec: AdapterSpec) -> Any:
    from peft import LoraConfig

    parts = anatomy_of_model(model)
    query = "|".join(re.escape(name) for name in spec.query_targets)
    language = "|".join(re.escape(name) for name in spec.language_targets)
    norms = [
        name
        for name, _ in model.named_modules()
        if spec.norms and f".{parts.language}." in name and name.endswith("norm")
    ]
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=0.0,
        target_modules=(
            rf".*\.({re.escape(parts.projector)}\.({query})|{parts.language}\..*\.({language}))"
        ),
        modules_to_save=norms or None,
    )


def _short_name(name: str, slot: str, parts: Anatomy) -> str | None:
    for mark, ending in (("lora_A", ".A"), ("lora_B", ".B"), ("modules_to_save", "")):
        place, found, _ = name.partition(f".{mark}.{slot}.")
        if found:
            return _short_place(place, parts) + ending
    return None


def _short_place(place: str, parts: Anatomy) -> str:
    if f".{parts.projector}." in place:
        return "projector." + place.rpartition(f"{parts.projector}.")[2]
    return place.rpartition(f"{parts.language}.")[2]


def _array(parameter: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return parameter.detach().to("cpu", torch.float32).numpy().copy()
