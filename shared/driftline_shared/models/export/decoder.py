"""A LLaMA, Qwen2 or Qwen3 decoder, or that of a Qwen-VL, as two graphs: the layers with their
cache, and the head.

Every operator is ONNX Runtime's own fused one where there is one. Attention is GroupQueryAttention,
at the positions as given (they have gaps). Rows of a batch begin at place 0, each with a length:
what pads a prompt stands behind it, where nothing looks back, and the next place of the row takes
its own. It rotates queries and keys by itself in a graph that only decodes; elsewhere that is done
before it, so that rotated queries can be given out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from onnx_ir import DataType

from driftline_shared.errors import PairError
from driftline_shared.models.export.graph import MICROSOFT, Graph, Shape
from driftline_shared.models.export.linear import Kind, Linear, add_linear, add_lora, stacked
from driftline_shared.models.export.outliers import Outliers
from driftline_shared.models.export.rotary import add_pass_table, channel_axes, rotary_table
from driftline_shared.pair.export_file import DropoutInput, LoraInput, LoraPart, NormInput

SUPPORTED = ("llama", "qwen2", "qwen3", "qwen2_5_vl_text", "qwen3_vl_text")
"""`model_type` of language models that this file builds."""

MAX_POSITIONS = 32_768
"""Most rows of the rotary table (4 MiB at 64 channels a head in float32, twice)."""

_NORMS = ("input_layernorm", "post_attention_layernorm")

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """What is an input: LoRA on linear layers whose path ends in one of `targets`, and norms."""

    targets: Collection[str] = ()
    norms: bool = False

    def has(self, path: str) -> bool:
        """Whether the linear layer at `path` has LoRA."""
        return any(re.fullmatch(rf"(.*\.)?{re.escape(name)}", path) for name in self.targets)


@dataclass(kw_only=True)
class Inputs:
    """The overridable inputs that a graph came to have."""

    lora: list[LoraInput] = field(default_factory=list)
    norms: list[NormInput] = field(default_factory=list)
    dropout: list[DropoutInput] = field(default_factory=list)

    def join(self, other: Inputs) -> None:
        """Add those of another graph."""
        self.lora += other.lora
        self.norms += other.norms
        self.dropout += other.dropout


@dataclass(frozen=True, kw_only=True)
class Precisions:
    """Kind of the linear layers by what they do; `of` may be asked with a layer's path."""

    usual: Kind
    exceptions: Mapping[str, Kind] = field(default_factory=dict)

    def of(self, path: str) -> Kind:
        """The kind of the layer at `path`: of the longest exception that ends it."""
        fitting = [name for name in self.exceptions if path.endswith(name)]
        return self.exceptions[max(fitting, key=len)] if fitting else self.usual


class Decoder:
    """A transformers decoder without its head, read layer by layer; `net` is neither wrapped by
    peft nor quantized. `num_deep`: layers that features of the picture are added behind (DeepStack,
    arXiv 2406.04334), the first of all; `outliers`: inputs of linear layers, and of the head,
    that rounding leaves out.

    Raises PairError for what the graphs do not do.
    """

    def __init__(self, net: Any, *, num_deep: int = 0, outliers: Outliers | None = None) -> None:
        config = net.config
        _check(config)
        self.net = net
        self.num_deep = num_deep
        self.outliers = outliers or {}
        self.axes = channel_axes(net)
        self.width = int(config.hidden_size)
        self.num_layers = len(net.layers)
        self.num_heads = int(config.num_attention_heads)
        self.num_key_heads = int(config.num_key_value_heads)
        self.head_width = int(
            getattr(config, "head_dim", None) or self.width // config.num_attention_heads
        )
        self.epsilon = float(config.rms_norm_eps)
        self.max_positions = min(int(config.max_position_embeddings), MAX_POSITIONS)

    def build(
        self,
        precisions: Precisions,
        *,
        adapted: Adapted,
        query_layers: Collection[int] = (),
        decodes: tuple[Any, Kind] | None = None,
        layers: range | None = None,
    ) -> tuple[Graph, Inputs]:
        """The graph `lm`: `layers`, all if None, without the final norm (see `pair.export_file`).

        `decodes`: the linear layer of logits and its kind, for a graph that only decodes. It draws
        no dropout and shows no queries, attention rotates by itself, and behind the last layer it
        gives logits, too.
        """
        chosen = range(self.num_layers) if layers is None else layers
        return _LayersBuilder(self, precisions, adapted, decodes, chosen).build(query_layers)

    def build_look(self, layer: int, precisions: Precisions, *, adapted: Adapted) -> Graph:
        """The graph `look` of what enters `layer`, by inputs of the language model's own graphs."""
        return _LayersBuilder(self, precisions, adapted, None, range(0)).build_look(layer)

    def build_head(self, head: Any, kind: Kind, *, adapted: Adapted) -> tuple[Graph, Inputs]:
        """The graph `head`: final norm and vocabulary; `head` is the linear layer of logits."""
        graph, inputs = Graph("head"), Inputs()
        self.add_head(graph, inputs, graph.input("hidden", ["N", self.width]), head, kind, adapted)
        return graph, inputs

    def add_head(
        self, graph: Graph, inputs: Inputs, x: str, head: Any, kind: Kind, adapted: Adapted
    ) -> None:
        """Add the output `logits` (N, vocabulary) of hidden states `x` (N, D)."""
        weight = _norm_weight(graph, inputs, adapted, "norm", self.net.norm, "head")
        normed = graph.node(
            "SimplifiedLayerNormalization", [x, weight], axis=-1, epsilon=self.epsilon
        )
        layer = replace(linear_of("head", head), outliers=self.outliers.get("head", ()))
        logits = add_linear(graph, normed, layer, kind)
        graph.node("Identity", [logits], name="logits")
        graph.output("logits", ["N", layer.outputs])


class _LayersBuilder:
    """State of one `Decoder.build`: the graph and what all layers read."""

    def __init__(
        self,
        decoder: Decoder,
        precisions: Precisions,
        adapted: Adapted,
        decodes: tuple[Any, Kind] | None,
        layers: range,
    ) -> None:
        self.decoder = decoder
        self.layers = layers
        self.precisions = precisions
        self.adapted = adapted
        self.decodes = decodes
        self.decode_only = decodes is not None
        self.graph = Graph("lm")
        self.inputs = Inputs()

    def build(self, query_layers: Collection[int]) -> tuple[Graph, Inputs]:
        graph, decoder = self.graph, self.decoder
        embeds = graph.input("inputs_embeds", ["B", "T", decoder.width])
        lengths = graph.input("lengths", ["B"], DataType.INT32)
        self.total = graph.input("total", [1], DataType.INT32)
        self._prepare(embeds)
        self.last = graph.node("Sub", [lengths, graph.constant(np.asarray(1, dtype=np.int32))])
        hidden = graph.node("Reshape", [embeds, graph.ints(-1, decoder.width)])
        branch = ""
        for index in self.layers:
            layer = decoder.net.layers[index]
            before, behind = (f"layers.{index}.{n}" for n in _NORMS)
            normed, hidden = self._norm(before, layer.input_layernorm, branch, hidden)
            branch = self._attention(index, layer.self_attn, normed, index in query_layers)
            normed, hidden = self._norm(behind, layer.post_attention_layernorm, branch, hidden)
            branch = self._mlp(index, layer.mlp, normed)
            if index < decoder.num_deep:
                deep = graph.node("Flatten", [add_deep(graph, f"deep.{index}")], axis=2)
                branch = graph.node("Add", [branch, deep])
        last = graph.node("Add", [hidden, branch])
        graph.node("Reshape", [last, graph.node("Shape", [embeds])], name="hidden")
        graph.output("hidden", ["B", "T", decoder.width])
        if self.decodes is not None and self.layers.stop == decoder.num_layers:
            decoder.add_head(graph, self.inputs, last, *self.decodes, self.adapted)
        return graph, self.inputs

    def build_look(self, index: int) -> Graph:
        graph, decoder = self.graph, self.decoder
        states = graph.input("inputs_embeds", ["B", "T", decoder.width])
        self._prepare(states)
        layer, path = decoder.net.layers[index], f"layers.{index}"
        hidden = graph.node("Reshape", [states, graph.ints(-1, decoder.width)])
        x, _ = self._norm(f"{path}.input_layernorm", layer.input_layernorm, "", hidden)
        q, k, _ = self._apart(f"{path}.self_attn", layer.self_attn, self._packed(index, x))
        self._give_heads(f"query.{index}", q, decoder.num_heads)
        self._give_heads(f"key.{index}", k, decoder.num_key_heads)
        final, _ = self._norm("norm", decoder.net.norm, "", hidden)
        graph.node("Reshape", [final, graph.node("Shape", [states])], name="normed")
        graph.output("normed", ["B", "T", decoder.width])
        return graph

    def _prepare(self, embeds: str) -> None:
        """What every layer reads: positions, the rotary table, the shape of rows."""
        graph = self.graph
        axes = [3] if self.decoder.axes is not None else []
        self.places = graph.input("position_ids", [*axes, "B", "T"], DataType.INT64)
        cos, sin = rotary_table(self.decoder.net, self.decoder.max_positions)
        self.cos, self.sin = graph.constant(cos, "rotary.cos"), graph.constant(sin, "rotary.sin")
        shape = graph.node("Shape", [embeds], start=0, end=2)
        # Rows of the flat (B * T) matrices back to (B, T).
        self.batched = graph.node("Concat", [shape, graph.ints(-1)], axis=0)
        if self.decoder.axes is not None:
            self.cos, self.sin, self.places = add_pass_table(
                graph, self.cos, self.sin, self.places, self.decoder.axes
            )

    def _norm(self, path: str, norm: Any, branch: str, hidden: str) -> tuple[str, str]:
        """Norm of hidden + branch, and that sum; without a branch, of hidden."""
        graph, epsilon = self.graph, self.decoder.epsilon
        weight = _norm_weight(graph, self.inputs, self.adapted, path, norm, "lm")
        if not branch:
            kind = "SimplifiedLayerNormalization"
            return graph.node(kind, [hidden, weight], axis=-1, epsilon=epsilon), hidden
        normed, _, _, total = graph.nodes(
            "SkipSimplifiedLayerNormalization",
            [branch, hidden, weight],
            [f"{path}.normed", "", "", f"{path}.sum"],
            domain=MICROSOFT,
            epsilon=epsilon,
        )
        return normed, total

    def _attention(self, index: int, block: Any, x: str, with_query: bool) -> str:
        graph, decoder = self.graph, self.decoder
        path, packed = f"layers.{index}.self_attn", self._packed(index, x)
        heads, key_heads = decoder.num_heads, decoder.num_key_heads
        inner = heads * decoder.head_width
        shape: Shape = ["B", key_heads, "P", decoder.head_width]
        past = [graph.input(f"{kind}.{index}", shape) for kind in ("past_key", "past_value")]
        held = [*past, self.last, self.total]
        # Its own table would have to reach over the whole cache.
        turns_alone = self.decoder.axes is None and getattr(block, "q_norm", None) is None
        if self.decode_only and turns_alone and not with_query:
            q = ""
            read = [packed, "", "", *held, self.cos, self.sin, self.places]
        else:
            q, k, v = self._apart(path, block, packed)
            read = [q, k, v, *held]
        attended, *present = graph.nodes(
            "GroupQueryAttention",
            read,
            [f"{path}.attended", f"present_key.{index}", f"present_value.{index}"],
            domain=MICROSOFT,
            num_heads=heads,
            kv_num_heads=key_heads,
            do_rotary=int(not q),
        )
        for name in present:
            graph.output(name, ["B", key_heads, "P+T", decoder.head_width])
        if with_query:
            self._give_heads(f"query.{index}", q, heads)
        attended = self._dropped(f"{path}.o_proj", attended, inner)
        flat = graph.node("Reshape", [attended, graph.ints(-1, inner)])
        return self._linear(f"{path}.o_proj", {f"{path}.o_proj": block.o_proj}, flat)

    def _packed(self, index: int, x: str) -> str:
        """Queries, keys and values (B, T, all of them) of a layer, not yet rotated."""
        path, block = f"layers.{index}.self_attn", self.decoder.net.layers[index].self_attn
        parts = {f"{path}.{n}": getattr(block, n) for n in ("q_proj", "k_proj", "v_proj")}
        return self.graph.node("Reshape", [self._linear(f"{path}.qkv", parts, x), self.batched])

    def _apart(self, path: str, block: Any, packed: str) -> tuple[str, str, str]:
        """Rotated queries, rotated keys and values of `packed` (B, T, all of them)."""
        decoder = self.decoder
        heads, key_heads, width = decoder.num_heads, decoder.num_key_heads, decoder.head_width
        q, k, v = self.graph.nodes(
            "Split",
            [packed, self.graph.ints(heads * width, key_heads * width, key_heads * width)],
            [f"{path}.q", f"{path}.k", f"{path}.v"],
            axis=-1,
        )
        q = self._rotated(f"{path}.q_norm", getattr(block, "q_norm", None), q, heads)
        k = self._rotated(f"{path}.k_norm", getattr(block, "k_norm", None), k, key_heads)
        return q, k, v

    def _rotated(self, path: str, norm: Any, x: str, heads: int) -> str:
        """Rotary embedding of (B, T, heads * d), behind a norm of each head where there is one."""
        graph, width = self.graph, self.decoder.head_width
        if norm is not None:
            weight = _norm_weight(graph, self.inputs, self.adapted, path, norm, "lm")
            apart = graph.node("Reshape", [x, graph.ints(0, 0, heads, width)])
            normed = graph.node(
                "SimplifiedLayerNormalization",
                [apart, weight],
                axis=-1,
                epsilon=self.decoder.epsilon,
            )
            x = graph.node("Reshape", [normed, graph.ints(0, 0, heads * width)])
        return graph.node(
            "RotaryEmbedding",
            [x, self.places, self.cos, self.sin],
            domain=MICROSOFT,
            num_heads=heads,
            rotary_embedding_dim=0,
        )

    def _give_heads(self, name: str, x: str, heads: int) -> None:
        graph, width = self.graph, self.decoder.head_width
        apart = graph.node("Reshape", [x, graph.ints(0, 0, heads, width)])
        graph.node("Transpose", [apart], name=name, perm=[0, 2, 1, 3])
        graph.output(name, ["B", heads, "T", width])

    def _mlp(self, index: int, block: Any, x: str) -> str:
        graph, path = self.graph, f"layers.{index}.mlp"
        packed = self._linear(
            f"{path}.gate_up",
            {f"{path}.{n}": getattr(block, n) for n in ("gate_proj", "up_proj")},
            x,
        )
        inner = int(block.down_proj.in_features)
        if not self.decode_only:
            packed = graph.node("Reshape", [packed, self.batched])
        gate, up = graph.nodes(
            "Split", [packed, graph.ints(inner, inner)], [f"{path}.gate", f"{path}.up"], axis=-1
        )
        silu = graph.node("QuickGelu", [gate], domain=MICROSOFT, alpha=1.0)
        product = self._dropped(f"{path}.down_proj", graph.node("Mul", [silu, up]), inner)
        if not self.decode_only:
            product = graph.node("Reshape", [product, graph.ints(-1, inner)])
        return self._linear(f"{path}.down_proj", {f"{path}.down_proj": block.down_proj}, product)

    def _dropped(self, place: str, x: str, width: int) -> str:
        if self.decode_only:
            return x
        name = f"{place}.mask"
        self.inputs.dropout.append(DropoutInput(part="lm", input=name, place=place, width=width))
        return self.graph.node("Mul", [x, add_mask(self.graph, name)])

    def _linear(self, name: str, modules: Mapping[str, Any], x: str) -> str:
        """The layers at these paths as one, with LoRA where any of them has it."""
        kind = self.precisions.of(name)
        # Of int4 the head's alone: apart, they would be three nodes more a layer.
        outliers = self.decoder.outliers if kind == "int8" else {}
        parts = {
            path: replace(linear_of(path, module), outliers=outliers.get(path, ()))
            for path, module in modules.items()
        }
        whole = stacked(name, list(parts.values()))
        table = lora_input("lm", whole, parts, self.adapted)
        return add_adapted(self.graph, self.inputs, x, whole, kind, table)


def add_mask(graph: Graph, name: str) -> str:
    """A dropout mask that is a scalar 1 unless one of (B, T, width) is given."""
    axes = [f"{name}.{axis}" for axis in range(3)]
    return graph.overridable(name, axes, np.ones((1, 1, 1), dtype=np.float32))


def add_deep(graph: Graph, name: str) -> str:
    """What is added behind a layer: nothing unless (B, T, D) is given."""
    axes = [f"{name}.{axis}" for axis in range(3)]
    return graph.overridable(name, axes, np.zeros((1, 1, 1), dtype=np.float32))


def add_adapted(
    graph: Graph, inputs: Inputs, x: str, layer: Linear, kind: Kind, table: LoraInput | None
) -> str:
    """Add the layer, with the LoRA of `table` where it has one."""
    y = add_linear(graph, x, layer, kind)
    if table is None:
        return y
    inputs.lora.append(table)
    return add_lora(graph, x, y, layer)


def lora_input(
    part: Any, whole: Linear, parts: Mapping[str, Linear], adapted: Adapted
) -> LoraInput | None:
    """The row of export.json for the LoRA of `whole`, made of `parts`; None where none has it."""
    rows, offset = [], 0
    for path, layer in parts.items():
        if adapted.has(path):
            rows.append(LoraPart(tensor=path, offset=offset, outputs=layer.outputs))
        offset += layer.outputs
    if not rows:
        return None
    return LoraInput(
        part=part,
        a=f"{whole.name}.lora_a",
        b=f"{whole.name}.lora_b",
        inputs=whole.inputs,
        outputs=whole.outputs,
        parts=tuple(rows),
    )


def linear_of(name: str, module: Any) -> Linear:
    """A torch linear layer; its weight is read when the graph is written."""
    return Linear(
        name=name,
        inputs=int(module.in_features),
        outputs=int(module.out_features),
        weight=lambda: as_array(module.weight),
        bias=as_array(module.bias) if module.bias is not None else None,
    )


def as_array(tensor: Any) -> Array:
    """A float32 view or copy of a parameter."""
    array: Array = tensor.detach().to("cpu", torch.float32).numpy()
    return array


def _norm_weight(
    graph: Graph, inputs: Inputs, adapted: Adapted, path: str, norm: Any, part: Any
) -> str:
    weight = as_array(norm.weight)
    if not adapted.norms:
        return graph.constant(weight, path)
    inputs.norms.append(NormInput(part=part, input=path, tensor=path, width=len(weight)))
    return graph.overridable(path, [len(weight)], weight)


def _check(config: Any) -> None:
    if config.model_type not in SUPPORTED:
        raise PairError(
            f"the language model is a {config.model_type!r}; graphs are built for "
            f'{", ".join(SUPPORTED)}: use runtime = "torch" for this pair'
        )
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    rope = getattr(config, "rope_parameters", None) or {}
    kind = str(rope.get("rope_type", "default"))
    odd = {
        f"attention of kind {sorted(layers)}": layers != {"full_attention"},
        f"hidden_act {config.hidden_act!r}": config.hidden_act not in ("silu", "swish"),
        f"rotary positions of type {kind!r}": kind not in ("default", "linear", "llama3", "yarn"),
        "a rotary embedding of part of a head": rope.get("partial_rotary_factor", 1.0) != 1.0,
    }
    for what, found in odd.items():
        if found:
            raise PairError(
                f'the language model has {what}, which the graphs do not do: use runtime = "torch"'
            )
