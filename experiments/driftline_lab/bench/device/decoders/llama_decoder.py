"""llama.cpp through llama-cpp-python, on the GGUF file as it is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from driftline_lab.bench.device.decoders.decoder import Decoder


class LlamaDecoder(Decoder):
    """A GGUF file under llama.cpp."""

    def __init__(self, model: Path, threads: int) -> None:
        from llama_cpp import Llama

        self._llama: Any = Llama(
            model_path=str(model),
            n_ctx=1024,
            n_batch=512,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )

    def reset(self) -> None:
        """See `Decoder`."""
        self._llama.reset()

    def read(self, ids: list[int]) -> int:
        """See `Decoder`."""
        self._llama.eval(ids)
        return int(self._llama.sample(temp=0.0))
