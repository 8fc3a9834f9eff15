"""onnxruntime-genai on the int4 model that its own builder makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAX_LENGTH = 1024


class GenaiDecoder:
    """A folder of onnxruntime-genai's model builder."""

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime_genai as genai

        self._genai: Any = genai
        config = genai.Config(str(model))
        options = {"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}
        import json

        config.overlay(json.dumps(options))
        self._model: Any = genai.Model(config)
        self._generator: Any = None

    def prefill(self, ids: Sequence[int]) -> int:
        """See `Decoder`."""
        settings = self._genai.GeneratorParams(self._model)
        settings.set_search_options(max_length=MAX_LENGTH, do_sample=False)
        self._generator = self._genai.Generator(self._model, settings)
        return self._read(list(ids))

    def step(self, token: int) -> int:
        """See `Decoder`."""
        return self._read([token])

    def _read(self, ids: list[int]) -> int:
        import numpy as np

        self._generator.append_tokens(np.array(ids, dtype=np.int32))
        return int(self._generator.get_logits().reshape(-1)[-self._width() :].argmax())

    def _width(self) -> int:
        return int(self._generator.get_logits().shape[-1])
