"""SmolLM2-135M-Instruct out of its GGUF file: weights, config and tokenizer as transformers reads
them.

The file holds 4-bit blocks (Q4_1, embeddings Q8_0); what they stand for is computed in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from driftline_shared.assembly.packages import INSTALL, LANGUAGE_MODEL, Tensors, locate
from driftline_shared.errors import PairError

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

IMAGE = "<image>"
IMAGE_ID = 16
"""The vocabulary's last reserved token, `<empty_output>` of code notebooks, stands for the picture:
the embedding table keeps its size."""

START, END = "<|im_start|>", "<|im_end|>"

NUM_LAYERS = 30

_NUM_HEADS, _NUM_KEY_HEADS = 9, 3
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def open_gguf() -> Any:
    """A reader of the installed file; the tensors are mapped, not read.

    Raises PairError when a package is missing or the file is another one.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise PairError(f"the package gguf is not installed: {INSTALL}") from error
    return GGUFReader(str(locate(LANGUAGE_MODEL)))


def read_language_model(reader: Any) -> Tensors:
    """All weights, float32, named as in `LlamaModel`."""
    from gguf import dequantize

    return {
        _name(tensor.name): _unpermuted(
            tensor.name, np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        )
        for tensor in reader.tensors
    }


def language_config(num_layers: int = NUM_LAYERS) -> LlamaConfig:
    """The config of SmolLM2-135M, or of as many of its layers."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1_536,
        num_hidden_layers=num_layers,
        num_attention_heads=_NUM_HEADS,
        num_key_value_heads=_NUM_KEY_HEADS,
        max_position_embeddings=8_192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )


def tokenizer(reader: Any) -> PreTrainedTokenizerFast:
    """Byte-level BPE as SmolLM2 has it: digits one by one, the first 17 entries special."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    words = [str(word) for word in reader.fields["tokenizer.ggml.tokens"].contents()]
    words[IMAGE_ID] = IMAGE
    merges = []
    for line in reader.fields["tokenizer.ggml.merges"].contents():
        left, _, right = str(line).partition(" ")
        merges.append((left, right))
    bare = Tokenizer(BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    bare.decoder = decoders.ByteLevel()
    bare.add_special_tokens(
        [AddedToken(w, normalized=False, special=True) for w in words[: IMAGE_ID + 1]]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=words[0],
        clean_up_tokenization_spaces=False,
    )


def _name(name: str) -> str:
    if name == "token_embd.weight":
        return "embed_tokens.weight"
    if name == "output_norm.weight":
        return "norm.weight"
    _, number, part, _ = name.split(".")
    return f"layers.{number}.{_PARTS[part]}.weight"


def _unpermuted(name: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """GGUF stores the two halves that rotary embedding turns together interleaved."""
    heads = {"attn_q": _NUM_HEADS, "attn_k": _NUM_KEY_HEADS}.get(name.split(".")[-2], 0)
    if not heads:
        return weight
    rows, columns = weight.shape
    halves = weight.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))
