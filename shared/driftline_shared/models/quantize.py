"""bitsandbytes int8 and NF4 for the language model, and the exact dequantized twin.

The tower and the projector stay in floating point: tokens must be the same on both sides, and the
query adapter sits on the projector. NF4 (QLoRA, arXiv 2305.14314) dequantizes weights before the
product, so the twin's logits are the device's. LLM.int8 (arXiv 2208.07339) also rounds activations:
the twin holds the same weights, its logits differ by that rounding.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from driftline_shared.pair.families import anatomy_of
from driftline_shared.pair.pair import Quantization


def quantization_config(quantization: Quantization, dtype: torch.dtype, model_dir: Path) -> Any:
    """The transformers quantization config for a checkpoint, or None."""
    if quantization == "none":
        return None
    from transformers import BitsAndBytesConfig

    # On import it advises to fetch a kernel from a model hub, the very one that `exact_` avoids.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    parts = anatomy_of(model_dir)
    # bitsandbytes compares whole names: a last component alone would not be found.
    keep_float = [f"model.{parts.tower}", f"model.{parts.projector.split('.')[0]}", "lm_head"]
    if quantization == "int8":
        return BitsAndBytesConfig(
            load_in_8bit=True, llm_int8_skip_modules=keep_float, llm_int8_threshold=0.0
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=keep_float,
    )


def exact_(model: nn.Module, quantization: Quantization) -> None:
    """Make every NF4 layer multiply its own weights, whatever the CPU can do.

    On a CPU with AVX512-BF16 bitsandbytes repacks the weights for a bfloat16 kernel: scales are
    rounded to bfloat16, so the twin's logits are no longer the device's and two machines answer
    differently, and widths that are no multiple of 64 fail.
    """
    if quantization != "nf4":
        return
    import bitsandbytes as bnb

    for layer in model.modules():
        if isinstance(layer, bnb.nn.Linear4bit):
            layer.support_avx512bf16_for_cpu = False


def dequantize_(model: nn.Module, quantization: Quantization) -> None:
    """Replace every quantized linear layer of `model` by a float32 one with the same (rounded)
    weights.
    """
    if quantization == "none":
        return
    import bitsandbytes as bnb

    for name, layer in list(model.named_modules()):
        if isinstance(layer, bnb.nn.Linear8bitLt):
            weight = _int8_weight(layer)
        elif isinstance(layer, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        else:
            continue
        plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        plain.weight.data = weight.to(torch.float32)
        if layer.bias is not None:
            plain.bias.data = layer.bias.data.to(torch.float32)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, plain.to(layer.weight.device))


def _int8_weight(layer: Any) -> torch.Tensor:
    # Row-wise absmax: w = code * scale / 127. Before the first forward the state lies on the
    # parameter.
    codes = layer.weight.CB if layer.weight.CB is not None else layer.state.CB
    scale = layer.weight.SCB if layer.weight.SCB is not None else layer.state.SCB
    if codes is None:
        codes = layer.weight.data
    return codes.to(torch.float32) * (scale.to(torch.float32) / 127.0)[:, None]
