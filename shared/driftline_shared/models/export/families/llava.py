"""LLaVA: one square view; two linear layers with an activation between them, in float32."""

from __future__ import annotations

from typing import Any

from driftline_shared.errors import PairError
from driftline_shared.models.export.decoder import Adapted, Inputs, linear_of
from driftline_shared.models.export.families.family import (
    Tower,
    give_projected,
    rows_of,
    two_layers,
)
from driftline_shared.models.export.graph import Graph
from driftline_shared.models.export.preparation import image_table, one_view_steps
from driftline_shared.models.families.llava import LlavaModel, tower_states
from driftline_shared.pair.image_table import (
    ImageTable,
)

_GELU = {"gelu": "none", "gelu_pytorch_tanh": "tanh", "gelu_new": "tanh"}
"""`projector_hidden_act` -> ONNX's `approximate`."""


class LlavaProjector:
    """The part of `FamilyGraphs` behind the tower."""

    def tower_width(self, model: Any) -> int:
        """Of all chosen layers side by side."""
        return int(model.net.model.multi_modal_projector.linear_1.in_features)

    def projector(self, model: Any, adapted: Adapted) -> tuple[Graph, Inputs]:
        """linear_1, activation, mask, linear_2."""
        net = model.net
        return build_projector(
            net.model.multi_modal_projector, net.config.projector_hidden_act, adapted=adapted
        )


class LlavaGraphs(LlavaProjector):
    """See `FamilyGraphs`."""

    def image(self, model: LlavaModel) -> ImageTable:
        """One view, as the checkpoint's image processor prepares it."""
        return image_table(
            one_view_steps(model.processor, model.canvas), lambda image: model.views([image])[0]
        )

    def tower(self, model: LlavaModel) -> Tower:
        """The states that the checkpoint's configuration chooses."""
        return tower_states


def gelu_of(activation: str) -> str:
    """ONNX's `approximate` of a projector's activation. Raises PairError for one it lacks."""
    if activation not in _GELU:
        raise PairError(
            f"the projector's activation is {activation!r}, graphs have {sorted(_GELU)}: use "
            'runtime = "torch" for this pair'
        )
    return _GELU[activation]


def build_projector(
    projector: Any, activation: str, *, adapted: Adapted, name: str = "projector"
) -> tuple[Graph, Inputs]:
    """The graph `projector`; `projector` has linear_1 and linear_2, not wrapped by peft.

    Raises PairError for an activation it does not know.
    """
    gelu = gelu_of(activation)
    graph, inputs = Graph("projector"), Inputs()
    first = linear_of(f"{name}.linear_1", projector.linear_1)
    second = linear_of(f"{name}.linear_2", projector.linear_2)
    x, shape = rows_of(graph, graph.input("tokens", ["B", "K", first.inputs]), first.inputs)
    x = two_layers(graph, inputs, x, shape, (first, second), adapted, approximate=gelu)
    give_projected(graph, x, shape, second.outputs)
    return graph, inputs
