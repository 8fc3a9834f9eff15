"""A distilled candidate as bytes: safetensors with its numbers, as a round keeps it on disk."""

from __future__ import annotations

import json

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from driftline_cloud.jobs import Distilled

_NUMBERS = "numbers"


def distilled_to_bytes(distilled: Distilled) -> bytes:
    """The candidate with its importance and numbers."""
    arrays = {
        f"{kind}.{name}": np.ascontiguousarray(array, dtype=np.float32)
        for kind, adapter in (("adapter", distilled.adapter), ("importance", distilled.importance))
        for name, array in adapter.items()
    }
    text = json.dumps(distilled.numbers, sort_keys=True).encode()
    return save({**arrays, _NUMBERS: np.frombuffer(text, dtype=np.uint8)})


def distilled_from_bytes(body: bytes) -> Distilled | None:
    """The candidate in `body`; None if it holds none."""
    parts: dict[str, dict[str, np.ndarray]] = {"adapter": {}, "importance": {}}
    try:
        arrays = load(body)
        numbers = json.loads(arrays.pop(_NUMBERS).tobytes())
        for key in sorted(arrays):
            kind, _, name = key.partition(".")
            parts[kind][name] = arrays[key]
    except (SafetensorError, KeyError, ValueError):
        return None
    return Distilled(adapter=parts["adapter"], importance=parts["importance"], numbers=numbers)
