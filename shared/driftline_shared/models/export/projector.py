"""The projector of LLaVA as a graph, always in float32: the query adapter sits on it."""

from __future__ import annotations

from typing import Any

from driftline_shared.errors import PairError
from driftline_shared.models.export import decoder
from driftline_shared.models.export.decoder import Adapted, Inputs, add_mask, linear_of
from driftline_shared.models.export.graph import Graph
from driftline_shared.pair.export_file import DropoutInput

_GELU = {"gelu": "none", "gelu_pytorch_tanh": "tanh", "gelu_new": "tanh"}
"""`projector_hidden_act` -> ONNX's `approximate`."""


def build_projector(
    projector: Any, activation: str, *, adapted: Adapted, name: str = "projector"
) -> tuple[Graph, Inputs]:
    """The graph `projector`; `projector` has linear_1 and linear_2, not wrapped by peft.

    Raises PairError for an activation it does not know.
    """
    if activation not in _GELU:
        raise PairError(
            f"the projector's activation is {activation!r}, graphs have {sorted(_GELU)}: use "
            'runtime = "torch" for this pair'
        )
    graph, inputs = Graph("projector"), Inputs()
    first = linear_of(f"{name}.linear_1", projector.linear_1)
    second = linear_of(f"{name}.linear_2", projector.linear_2)
    tokens = graph.input("tokens", ["B", "K", first.inputs])
    x = graph.node("Reshape", [tokens, graph.ints(-1, first.inputs)])
    x = _adapted(graph, inputs, x, first, adapted)
    x = graph.node("Gelu", [x], approximate=_GELU[activation])
    # (B, K) of the tokens before the width, for the mask has these axes.
    rows = graph.node("Shape", [tokens], start=0, end=2)
    shape = graph.node("Concat", [rows, graph.ints(-1)], axis=0)
    mask = f"{second.name}.mask"
    inputs.dropout.append(
        DropoutInput(part="projector", input=mask, place=second.name, width=second.inputs)
    )
    x = graph.node("Mul", [graph.node("Reshape", [x, shape]), add_mask(graph, mask)])
    x = graph.node("Reshape", [x, graph.ints(-1, second.inputs)])
    x = _adapted(graph, inputs, x, second, adapted)
    graph.node("Reshape", [x, shape], name="projected")
    graph.output("projected", ["B", "K", second.outputs])
    return graph, inputs


def _adapted(graph: Graph, inputs: Inputs, x: str, layer: Any, adapted: Adapted) -> str:
    table = decoder.lora_input("projector", layer, {layer.name: layer}, adapted)
    return decoder.add_adapted(graph, inputs, x, layer, "fp32", table)
