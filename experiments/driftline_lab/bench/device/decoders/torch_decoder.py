"""transformers under torch, fp32: the runtime the device has had so far, without quantization."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class TorchDecoder:
    """A causal language model from a checkpoint folder."""

    def __init__(self, model: Path, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        self._torch = torch
        self._net: Any = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.float32, use_safetensors=True, local_files_only=True
        ).eval()
        self._cache: Any = None

    def prefill(self, ids: Sequence[int]) -> int:
        """See `Decoder`; logits of the last place only."""
        from transformers import DynamicCache

        self._cache = DynamicCache(config=self._net.config)
        return self._read(list(ids))

    def step(self, token: int) -> int:
        """See `Decoder`."""
        return self._read([token])

    def _read(self, ids: list[int]) -> int:
        with self._torch.inference_mode():
            rows = self._torch.tensor([ids])
            output = self._net(rows, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        return int(output.logits[0, -1].argmax())
