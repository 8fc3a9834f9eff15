"""llama.cpp through llama-cpp-python, on the GGUF file as it is published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class LlamaDecoder:
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

    def prefill(self, ids: Sequence[int]) -> int:
        """See `Decoder`."""
        self._llama.reset()
        return self._read(list(ids))

    def step(self, token: int) -> int:
        """See `Decoder`."""
        return self._read([token])

    def _read(self, ids: list[int]) -> int:
        self._llama.eval(ids)
        return int(self._llama.sample(temp=0.0))
