"""The vision tower as a graph, traced by torch, and its int8 form.

int8 is weights by channel and activations by tensor: of convolutional towers with ranges measured
on calibration pictures (activations there are bounded), of transformers with ranges of each run.
The first layers of a convolutional tower, where few channels carry the whole picture, lose most.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_shared.models.compression.tower_blocks import outputs_of

Pixels = NDArray[np.float32]


class _Tower(torch.nn.Module):
    def __init__(
        self, net: Any, states: Callable[[Any, torch.Tensor], torch.Tensor], hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self.net = net
        self.states = states
        self.hidden = hidden

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, 3, H, W) or (B, F, 3, H, W) -> tokens (B, V, D_v), each `hidden` (B, F, P, D_p)."""
        if not self.hidden:
            return (self.states(self.net, pixels).float(),)
        with outputs_of({"tower": self.net.model.vision_tower}) as got:
            tokens = self.states(self.net, pixels)
        states: Any = got["tower"]
        views = pixels.shape[1] if pixels.dim() == 5 else 1
        hidden = [states.hidden_states[n].unflatten(0, (-1, views)).float() for n in self.hidden]
        return (tokens.float(), *hidden)


def trace_tower(
    net: Any,
    states: Callable[[Any, torch.Tensor], torch.Tensor],
    pixels: Pixels,
    file: Path,
    *,
    hidden: Sequence[int] = (),
) -> None:
    """Write the graph `tower` in float32; `pixels` (B > 1, 3, H, W) are traced with. `hidden`:
    depths whose hidden states are outputs beside the tokens; a run that does not fetch them pays
    nothing for them.
    """
    with _quiet("torch.onnx", "onnxscript"), torch.no_grad():
        program = torch.onnx.export(
            _Tower(net, states, hidden).eval(),
            (torch.from_numpy(pixels),),
            input_names=["pixels"],
            output_names=["tokens", *(f"hidden.{depth}" for depth in hidden)],
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
