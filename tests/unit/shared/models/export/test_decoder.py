"""Graphs of LLaMA-style decoders beside transformers' own: every family, every precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from driftline_shared.errors import PairError
from driftline_shared.models.export import graph as graphs
from driftline_shared.models.export.agreement import session
from driftline_shared.models.export.decoder import Adapted, Decoder, Precisions

SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "llama3": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=LLAMA3_ROPE)),
    "biased": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=32)),
}
SECTIONS: dict[str, Any] = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [4, 2, 2]}
THREE_AXES: dict[str, Any] = {
    "qwen2_5_vl": lambda: Qwen2_5_VLTextModel(
        Qwen2_5_VLTextConfig(**SIZES, rope_parameters=SECTIONS)
    ),
    "qwen3_vl": lambda: Qwen3VLTextModel(
        Qwen3VLTextConfig(
            **SIZES, head_dim=16, rope_parameters=SECTIONS | {"mrope_interleaved": True}
        )
    ),
}
TOLERANCE = 1e-4
ROWS, WIDTH = 2, 9


def made(name: str) -> Any:
    """A random model whose logits depend on everything in it."""
    torch.manual_seed(0)
    net = MODELS[name]().eval()
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(4.0)
            elif "norm" in key:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_()
    return net


def built(net: Any, kind: Any, folder: Path) -> tuple[Any, Any, Decoder]:
    """Sessions of layers and head."""
    decoder = Decoder(net.model)
    layers, _ = decoder.build(Precisions(usual=kind), adapted=Adapted())
    head, _ = decoder.build_head(net.lm_head, "fp32", adapted=Adapted())
    layers.save(folder / "lm.onnx")
    head.save(folder / "head.onnx")
    return session(folder / "lm.onnx"), session(folder / "head.onnx"), decoder


def inputs(decoder: Decoder) -> dict[str, Any]:
    """Two rows, one padded behind, positions with gaps."""
    rng = np.random.default_rng(0)
    mask = np.ones((ROWS, WIDTH), dtype=np.int64)
    mask[0, -3:] = 0
    return {
        "inputs_embeds": rng.standard_normal((ROWS, WIDTH, decoder.width)).astype(np.float32),
        "attention_mask": mask,
        "position_ids": np.cumsum(rng.integers(1, 4, (ROWS, WIDTH)), axis=1),
    }


def read_by_graph(given: dict[str, Any], end: int) -> dict[str, Any]:
    """A pass whose last place is `end` - 1; what pads a row is behind it, where nothing looks."""
    fed = {name: given[name] for name in ("inputs_embeds", "position_ids")}
    return fed | {"lengths": np.full(ROWS, end, np.int32), "total": np.full(1, end, np.int32)}


def logits(lm: Any, head: Any, decoder: Decoder, given: dict[str, Any]) -> Any:
    empty = np.zeros((ROWS, decoder.num_key_heads, 0, decoder.head_width), dtype=np.float32)
    past = {
        f"past_{kind}.{layer}": empty
        for layer in range(decoder.num_layers)
        for kind in ("key", "value")
    }
    hidden = lm.run(["hidden"], read_by_graph(given, WIDTH) | past)[0]
    found = head.run(None, {"hidden": hidden.reshape(-1, decoder.width)})[0]
    return found.reshape(ROWS, WIDTH, -1)[given["attention_mask"].astype(bool)]


@torch.no_grad()
def compared(net: Any, kind: str, folder: Path) -> tuple[Any, Any]:
    """Logits of the graphs and of the model itself, padding left out."""
    lm, head, decoder = built(net, kind, folder)
    given = inputs(decoder)
    exact = net(**{name: torch.from_numpy(value) for name, value in given.items()}).logits
    read = given["attention_mask"].astype(bool)
    return logits(lm, head, decoder, given), exact.numpy()[read]


@pytest.mark.parametrize("name", MODELS)
def test_fp32_is_the_model(name: str, tmp_path: Path) -> None:
    found, wanted = compared(made(name), "fp32", tmp_path)
    assert np.abs(wanted).max() > 0.5
    assert np.abs(found - wanted).max() <= TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("name", THREE_AXES)
def test_positions_on_three_axes_turn_as_in_the_model(name: str, tmp_path: Path) -> None:
    """A graph that only decodes steps place by place, the other one reads all at once."""
    torch.manual_seed(0)
    net = THREE_AXES[name]().eval()
    for parameter in net.parameters():
        parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.2)
    decoder, rng = Decoder(net), np.random.default_rng(1)
    given = inputs(decoder) | {"position_ids": rng.integers(0, 20, (3, ROWS, WIDTH))}
    wanted = net(
        **{key: torch.from_numpy(value) for key, value in given.items()}, use_cache=False
    ).last_hidden_state
    read = torch.from_numpy(given["attention_mask"].astype(bool))
    head = torch.nn.Linear(decoder.width, 5, bias=False)
    for decode_only, size in ((False, WIDTH), (True, 1)):
        graph, _ = decoder.build(
            Precisions(usual="fp32"),
            adapted=Adapted(),
            decodes=(head, "fp32") if decode_only else None,
        )
        graph.save(tmp_path / "lm.onnx")
        found = net.norm(torch.from_numpy(stepped(tmp_path / "lm.onnx", decoder, given, size)))
        assert (found - wanted)[read].abs().max() <= TOLERANCE
    given["position_ids"] = np.broadcast_to(given["position_ids"][:1], (3, ROWS, WIDTH))
    other = net.norm(torch.from_numpy(stepped(tmp_path / "lm.onnx", decoder, given, 1)))
    assert (other - wanted)[read].abs().max() > 100 * TOLERANCE, "all axes matter"


def stepped(file: Path, decoder: Decoder, given: dict[str, Any], size: int) -> Any:
    """(B, T, D) hidden states, `size` places a pass."""
    lm = session(file)
    names = [f"{kind}.{layer}" for layer in range(decoder.num_layers) for kind in ("key", "value")]
    cache = [
        np.zeros((ROWS, decoder.num_key_heads, 0, decoder.head_width), dtype=np.float32)
    ] * len(names)
    found = []
    for end in range(size, WIDTH + 1, size):
        part = {
            "inputs_embeds": given["inputs_embeds"][:, end - size : end],
            "position_ids": given["position_ids"][:, :, end - size : end],
        }
        fed = read_by_graph(part, end)
        past = {f"past_{name}": held for name, held in zip(names, cache, strict=True)}
        hidden, *cache = lm.run(["hidden", *(f"present_{name}" for name in names)], fed | past)
        found.append(hidden)
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize(
    ("kind", "most"), [("int8", 0.001), ("int8_blocks", 0.001), ("int4", 0.05)]
)
def test_rounding_loses_little(kind: str, most: float, tmp_path: Path) -> None:
    found, wanted = compared(made("llama"), kind, tmp_path)
    assert 0.0 < np.square(found - wanted).mean() / wanted.var() <= most


def test_one_loud_token_does_not_coarsen_the_others(tmp_path: Path) -> None:
    lm, head, decoder = built(made("llama"), "int8", tmp_path)
    given = inputs(decoder)
    before = logits(lm, head, decoder, given)
    given["inputs_embeds"][1, -1] *= 1e4
    after = logits(lm, head, decoder, given)
    assert np.abs(after[:-1] - before[:-1]).max() <= TOLERANCE


def test_large_weights_lie_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "EMBED_LIMIT_BYTES", 1 << 15)
    found, wanted = compared(made("qwen2"), "fp32", tmp_path)
    assert (tmp_path / "lm.onnx.data").stat().st_size > 1 << 15
    assert (tmp_path / "lm.onnx").stat().st_size < 1 << 16
    assert np.abs(found - wanted).max() <= TOLERANCE


def test_layers_can_be_rounded_apart(tmp_path: Path) -> None:
    kinds = Precisions(
        usual="int4", exceptions={"down_proj": "int8", "layers.1.mlp.down_proj": "fp32"}
    )
    assert kinds.of("layers.0.mlp.gate_up") == "int4"
    assert kinds.of("layers.0.mlp.down_proj") == "int8"
    assert kinds.of("layers.1.mlp.down_proj") == "fp32"


def test_another_language_model_is_refused_with_the_fix() -> None:
    net = MistralForCausalLM(MistralConfig(**SIZES))
    with pytest.raises(PairError, match=r"'mistral'.*runtime = \"torch\""):
        Decoder(net.model)


def test_a_sliding_window_is_refused() -> None:
    config = Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    with pytest.raises(PairError, match="sliding_attention"):
        Decoder(Qwen2ForCausalLM(config).model)
