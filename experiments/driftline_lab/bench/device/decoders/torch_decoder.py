"""transformers under torch, fp32: the runtime the device has had so far, without quantization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from driftline_lab.bench.device.decoders.decoder import Decoder


class TorchDecoder(Decoder):
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

    def reset(self) -> None:
        """See `Decoder`."""
        from transformers import DynamicCache

        self._cache = DynamicCache(config=self._net.config)

    def read(self, ids: list[int]) -> int:
        """See `Decoder`; logits of the last place only."""
        with self._torch.inference_mode():
            rows = self._torch.tensor([ids])
            output = self._net(rows, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        return int(output.logits[0, -1].argmax())
