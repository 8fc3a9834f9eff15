"""The vision tower as a graph, traced by torch, and its int8 form.

int8 is weights by channel and activations by tensor: of convolutional towers with ranges measured
on calibration pictures (activations there are bounded), of transformers with ranges of each run.
The first layers of a convolutional tower, where few channels carry the whole picture, lose most.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Pixels = NDArray[np.float32]


class _Tower(torch.nn.Module):
    def __init__(self, net: Any, states: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.net = net
        self.states = states

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, V, D_v)."""
        return self.states(self.net, pixels).float()


def trace_tower(
    net: Any, states: Callable[[Any, torch.Tensor], torch.Tensor], pixels: Pixels, file: Path
) -> None:
    """Write the graph `tower` in float32; `pixels` (B > 1, 3, H, W) are traced with."""
    with _quiet("torch.onnx", "onnxscript"), torch.no_grad():
        program = torch.onnx.export(
            _Tower(net, states).eval(),
            (torch.from_numpy(pixels),),
            input_names=["pixels"],
            output_names=["tokens"],
            dynamic_shapes=({0: torch.export.Dim("B")},),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    program.save(str(file), external_data=False)


def quantize_tower(fp32: Path, pixels: Pixels, file: Path, *, kept: int = 0) -> None:
    """Write the int8 form of the graph `fp32`, but for its first `kept` layers; `pixels`
    (N, 3, H, W) are calibrated with.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

    nodes = onnx.load(fp32, load_external_data=False).graph.node
    convolutions = [node.name for node in nodes if node.op_type == "Conv"]
    products = [node.name for node in nodes if node.op_type in ("MatMul", "Gemm")]
    # The library advises through the root logger to optimize a model first.
    with _quiet(None):
        if len(convolutions) > len(products):
            quantize_static(
                fp32,
                file,
                _Reader(pixels),
                # Clip, so that ranges are those behind it; sums of branches stay in float32.
                op_types_to_quantize=["Conv", "Clip"],
                nodes_to_exclude=convolutions[:kept],
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
            )
        else:
            quantize_dynamic(
                fp32,
                file,
                op_types_to_quantize=["MatMul", "Gemm"],
                nodes_to_exclude=products[:kept],
                weight_type=QuantType.QInt8,
                per_channel=True,
            )


@contextmanager
def _quiet(*names: str | None) -> Iterator[None]:
    """No warnings, in these loggers (None: the root) neither: advice for those who write models."""
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


class _Reader:
    """Gives calibration pictures one by one, as the library asks for them."""

    def __init__(self, pixels: Pixels) -> None:
        self._rest = iter(pixels)

    def get_next(self) -> dict[str, Pixels] | None:
        """The next picture; None at the end."""
        one = next(self._rest, None)
        return None if one is None else {"pixels": one[None]}
