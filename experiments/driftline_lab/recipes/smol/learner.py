"""What is trained: a projector in full, and low-rank changes to a frozen SmolLM2's layers.

The frozen weights are bfloat16 and products run in bfloat16 (autocast); what is trained stays
float32. The tower is not here: its tokens are cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlamaModel
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from driftline_lab.recipes.packing import Packed, last_states, spliced
from driftline_shared.assembly.checkpoint import kept_layers, llava_config, write_trained
from driftline_shared.assembly.packages import Tensors
from driftline_shared.pair.families import LANGUAGE_TARGETS

START_IDS = (1, 4093, 198)
"""`<|im_start|>user` and a line break, before the picture."""


class Learner(nn.Module):
    """Projector and language model of one side; `layers` are those kept of SmolLM2's thirty."""

    def __init__(self, base: Tensors, layers: Sequence[int], *, rank: int, alpha: float) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        super().__init__()
        self.layers, self.rank, self.alpha = tuple(layers), rank, alpha
        config = llava_config(len(self.layers))
        self.projector = LlavaMultiModalProjector(config)
        language = LlamaModel(config.text_config)
        language.load_state_dict(
            {name: torch.tensor(value) for name, value in kept_layers(base, layers).items()}
        )
        # Parameters only: the rotary frequencies are a buffer and must stay exact.
        for parameter in language.parameters():
            parameter.data = parameter.data.bfloat16()
        lora = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(LANGUAGE_TARGETS))
        self.language: Any = inject_adapter_in_model(lora, language.requires_grad_(False))
        for parameter in self.lora().values():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)

    def lora(self) -> dict[str, nn.Parameter]:
        """Short name ("layers.0.mlp.up_proj.A") -> parameter."""
        found = {}
        for name, parameter in self.language.named_parameters():
            for side in "AB":
                place, hit, _ = name.partition(f".lora_{side}.")
                if hit:
                    found[f"{place}.{side}"] = parameter
        return found

    def table(self) -> Tensor:
        """(vocabulary, W) the embedding table, which is the head too."""
        return self.language.embed_tokens.weight

    def hidden(self, packed: Packed, visual: Tensor) -> Tensor:
        """(B, T, W) last hidden states of packed rows; `visual` (B, K, D) tower tokens."""
        with torch.autocast("cpu", torch.bfloat16):
            words = self.language.embed_tokens(packed.input_ids)
            embeds = spliced(words, self.projector(visual), len(START_IDS))
            return last_states(self.language, embeds, packed)

    def logits(self, hidden: Tensor) -> Tensor:
        """(n, W) -> (n, vocabulary) float32."""
        with torch.autocast("cpu", torch.bfloat16):
            logits = nn.functional.linear(hidden, self.table())
        return logits.float()

    def trained(self) -> dict[str, nn.Parameter]:
        """Everything that learns, by the name it is shipped under."""
        projector = {f"projector.{name}": p for name, p in self.projector.named_parameters()}
        return projector | self.lora()

    def save(self, path: Path) -> None:
        """Float32, to go on from."""
        save_file({k: p.detach().contiguous() for k, p in self.trained().items()}, path)

    def load(self, path: Path) -> None:
        """What `save` wrote."""
        stored = load_file(path)
        with torch.no_grad():
            for name, parameter in self.trained().items():
                parameter.copy_(stored[name])

    def ship(self, path: Path) -> None:
        """Float16, as a pair holds it."""
        arrays = {k: p.detach().numpy() for k, p in self.trained().items()}
        write_trained(path, arrays, layers=self.layers, alpha=self.alpha)
