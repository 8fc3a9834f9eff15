"""onnxruntime-genai on the int4 model that its own builder makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from driftline_lab.bench.device.decoders.decoder import Decoder

MAX_LENGTH = 1024


class GenaiDecoder(Decoder):
    """A folder of onnxruntime-genai's model builder."""

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime_genai as genai

        self._genai: Any = genai
        config = genai.Config(str(model))
        options = {"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}
        config.overlay(json.dumps(options))
        self._model: Any = genai.Model(config)
        self._generator: Any = None

    def reset(self) -> None:
        """See `Decoder`."""
        # The old one goes first: two would count.
        self._generator = None
        settings = self._genai.GeneratorParams(self._model)
        settings.set_search_options(max_length=MAX_LENGTH, do_sample=False)
        self._generator = self._genai.Generator(self._model, settings)

    def read(self, ids: list[int]) -> int:
        """See `Decoder`."""
        self._generator.append_tokens(np.array(ids, dtype=np.int32))
        logits = self._generator.get_logits()
        return int(logits.reshape(-1, logits.shape[-1])[-1].argmax())
