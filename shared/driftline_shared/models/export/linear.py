"""Linear layers of a graph in each precision, with their LoRA.

    fp32   MatMul
    int8   weights by output column, activations by row, both symmetric; u8 x s8 products in int32
           (MatMulIntegerToFloat). A row has a scale of its own: one token with large activations
           must not coarsen the others, as it would with ONNX Runtime's DynamicQuantizeMatMul.
    int8_blocks  MatMulNBits, 8 bits, blocks of 32 inputs
    int4   MatMulNBits, 4 bits, blocks of 32 inputs

Nor must a few large channels of a row: in int8 and int4 outlier inputs (`outliers`) are multiplied
in float32.

LoRA stays in float32 beside all of them: y = base(x) + (x A) B, by Gemm, which adds while it
writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from driftline_shared.models.export.graph import MICROSOFT, Graph

Kind = Literal["fp32", "int8", "int8_blocks", "int4"]

BLOCK = 32
"""Inputs that share a scale in MatMulNBits."""

_INT8_COMPUTE = 4
"""`accuracy_level` of MatMulNBits: products in int8, activations rounded by block."""

_SHRINKS = np.linspace(1.0, 0.7, 13)
"""Shares of the largest weight of a block that are tried as the end of its 4-bit range."""

_ROWS_AT_ONCE = 4_096

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """y = x W^T + b; `weight` gives (outputs, inputs) float32, and is asked when it is written.
    `outliers`: inputs, rising, that int8 and int4 leave in float32.
    """

    name: str
    inputs: int
    outputs: int
    weight: Callable[[], Floats]
    bias: Floats | None = None
    outliers: tuple[int, ...] = ()


def stacked(name: str, layers: Sequence[Linear]) -> Linear:
    """Layers that read the same, as one: outputs side by side."""
    biases = [
        layer.bias if layer.bias is not None else np.zeros(layer.outputs, dtype=np.float32)
        for layer in layers
    ]
    has_bias = any(layer.bias is not None for layer in layers)
    return Linear(
        name=name,
        inputs=layers[0].inputs,
        outputs=sum(layer.outputs for layer in layers),
        weight=lambda: np.concatenate([layer.weight() for layer in layers]),
        bias=np.concatenate(biases) if has_bias else None,
        outliers=layers[0].outliers,
    )


def add_linear(graph: Graph, x: str, layer: Linear, kind: Kind) -> str:
    """Add the layer without LoRA; `x` (N, inputs) -> (N, outputs)."""
    y = _KINDS[kind](graph, x, layer)
    if layer.bias is not None:
        y = graph.node("Add", [y, graph.constant(layer.bias, f"{layer.name}.bias")])
    return y


def add_lora(graph: Graph, x: str, y: str, layer: Linear) -> str:
    """Add y + (x A) B with inputs `NAME.lora_a` and `NAME.lora_b`, of rank 0 by default."""
    rank = f"{layer.name}.rank"
    down = graph.overridable(
        f"{layer.name}.lora_a", [layer.inputs, rank], np.zeros((layer.inputs, 0), np.float32)
    )
    up = graph.overridable(
        f"{layer.name}.lora_b", [rank, layer.outputs], np.zeros((0, layer.outputs), np.float32)
    )
    return graph.node("Gemm", [graph.node("MatMul", [x, down]), up, y])


# -- precisions ----------------------------------------------------------------------------------

_Add = Callable[[Graph, str, Linear], str]


def _fp32(graph: Graph, x: str, layer: Linear) -> str:
    shape = (layer.inputs, layer.outputs)
    weight = graph.weight(f"{layer.name}.weight", shape, np.float32, lambda: layer.weight().T)
    return graph.node("MatMul", [x, weight])


def _int8_rows(graph: Graph, x: str, layer: Linear) -> str:
    codes_of, scales_of = _halves(lambda: column_codes(layer.weight()))
    codes = graph.weight(
        f"{layer.name}.codes", (layer.inputs, layer.outputs), np.int8, lambda: codes_of().T
    )
    scales = graph.weight(f"{layer.name}.scales", (layer.outputs,), np.float32, scales_of)
    largest = graph.node("ReduceMax", [graph.node("Abs", [x]), graph.ints(-1)], keepdims=1)
    # A row of zeros stays one.
    largest = graph.node("Max", [largest, _shared(graph, "least", 1e-20)])
    ratio = graph.node("Div", [x, largest])
    step = _shared(graph, "step", 1.0 / 127.0)
    zero = graph.shared_constant("zero_point", np.asarray(128, dtype=np.uint8))
    rounded = graph.node("QuantizeLinear", [ratio, step, zero])
    y = graph.node(
        "MatMulIntegerToFloat", [rounded, codes, step, scales, zero, ""], domain=MICROSOFT
    )
    return graph.node("Mul", [y, largest])


def _nbits(bits: int) -> _Add:
    def add(graph: Graph, x: str, layer: Linear) -> str:
        blocks = -(-layer.inputs // BLOCK)
        codes_of, scales_of = _halves(lambda: block_codes(layer.weight(), bits))
        packed = (layer.outputs, blocks, BLOCK * bits // 8)
        codes = graph.weight(f"{layer.name}.codes", packed, np.uint8, codes_of)
        scales = graph.weight(f"{layer.name}.scales", packed[:2], np.float32, scales_of)
        return graph.node(
            "MatMulNBits",
            [x, codes, scales],
            domain=MICROSOFT,
            K=layer.inputs,
            N=layer.outputs,
            bits=bits,
            block_size=BLOCK,
            accuracy_level=_INT8_COMPUTE,
        )

    return add


def _outliers_apart(add: _Add) -> _Add:
    """The layer without its outlier inputs by `add`, and those in float32 beside it."""

    def add_both(graph: Graph, x: str, layer: Linear) -> str:
        outliers = list(layer.outliers)
        if not outliers:
            return add(graph, x, layer)
        quiet = np.ones(layer.inputs, dtype=np.float32)
        quiet[outliers] = 0.0
        places = graph.constant(np.asarray(outliers, dtype=np.int64), f"{layer.name}.outliers")
        loud = graph.node("Gather", [x, places], axis=1)
        rest = graph.node("Mul", [x, graph.constant(quiet, f"{layer.name}.quiet")])
        y = add(graph, rest, replace(layer, weight=lambda: layer.weight() * quiet))
        exact = graph.weight(
            f"{layer.name}.exact",
            (len(outliers), layer.outputs),
            np.float32,
            lambda: layer.weight()[:, outliers].T,
        )
        return graph.node("Gemm", [loud, exact, y])

    return add_both


_KINDS: dict[Kind, _Add] = {
    "fp32": _fp32,
    "int8": _outliers_apart(_int8_rows),
    "int8_blocks": _nbits(8),
    "int4": _outliers_apart(_nbits(4)),
}


def _halves(
    make: Callable[[], tuple[NDArray[Any], Floats]],
) -> tuple[Callable[[], NDArray[Any]], Callable[[], Floats]]:
    """Codes and scales, asked for one after the other, from one rounding."""
    kept: list[Floats] = []

    def codes() -> NDArray[Any]:
        made, scales = make()
        kept[:] = [scales]
        return made

    return codes, lambda: kept.pop() if kept else make()[1]


def _shared(graph: Graph, name: str, value: float) -> str:
    return graph.shared_constant(name, np.asarray(value, dtype=np.float32))


# -- codes ---------------------------------------------------------------------------------------


def column_codes(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """(outputs, inputs) -> int8 codes of that shape and scales (outputs,): w = code * scale."""
    scales = np.maximum(np.abs(weight).max(axis=1) / 127.0, 1e-12).astype(np.float32)
    return np.rint(weight / scales[:, None]).astype(np.int8), scales


def block_codes(weight: Floats, bits: int) -> tuple[NDArray[np.uint8], Floats]:
    """(outputs, inputs) -> codes (outputs, blocks, bytes) as MatMulNBits packs them, and scales
    (outputs, blocks): w = (code - 2^(bits-1)) * scale.

    The block's largest weight has its sign on the long side of the range (-2^(bits-1)); of 4-bit
    blocks the scale with the least squared error among a few is kept.
    """
    outputs, inputs = weight.shape
    blocks = -(-inputs // BLOCK)
    codes = np.empty((outputs, blocks, BLOCK * bits // 8), dtype=np.uint8)
    scales = np.empty((outputs, blocks), dtype=np.float32)
    for start in range(0, outputs, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        part = np.zeros((len(weight[rows]), blocks * BLOCK), dtype=np.float32)
        part[:, :inputs] = weight[rows]
        values = part.reshape(-1, blocks, BLOCK)
        scales[rows], steps = _rounded(values, 1 << (bits - 1), _SHRINKS if bits == 4 else (1.0,))
        codes[rows] = steps if bits == 8 else steps[..., 0::2] | (steps[..., 1::2] << 4)
    return codes, scales


def _rounded(
    values: Floats, half: int, shrinks: Sequence[float] | NDArray[Any]
) -> tuple[Floats, NDArray[np.uint8]]:
    """Scales (n, blocks) and codes 0..2*half-1 of `values` (n, blocks, BLOCK)."""
    place = np.abs(values).argmax(axis=-1)[..., None]
    largest = np.take_along_axis(values, place, axis=-1)
    best = np.full((*values.shape[:2], 1), np.inf, dtype=np.float32)
    kept = np.ones_like(best)
    steps = np.zeros(values.shape, dtype=np.int16)
    for shrink in shrinks:
        scale = (largest * np.float32(shrink) / -half).astype(np.float32)
        scale[scale == 0.0] = 1.0
        tried = np.clip(np.rint(values / scale), -half, half - 1)
        error = np.square(tried * scale - values).sum(axis=-1, keepdims=True)
        better = error < best
        best, kept = np.where(better, error, best), np.where(better, scale, kept)
        steps = np.where(better, tried, steps).astype(np.int16)
    return kept[..., 0], (steps + half).astype(np.uint8)
