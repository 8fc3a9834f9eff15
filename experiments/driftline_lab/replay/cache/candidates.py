"""Adapters as bytes: a distilled candidate with its numbers, as a round keeps it on disk, and
version 0 of a pair.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from driftline_cloud.jobs import Distilled
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.codec.adapters import adapter_from_bytes, adapter_to_bytes
from driftline_shared.update import Adapter

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


def kept_adapter(store: ResultStore, models: str, make: Callable[[], Adapter]) -> Adapter:
    """Version 0 of the pair whose models have the digest `models`; made where it is not known."""
    key = hashlib.sha256(f"initial\0{models}".encode()).digest()
    kept = store.get([key]).get(key)
    if kept is None:
        kept = adapter_to_bytes(make())
        store.put({key: kept})
    return adapter_from_bytes(kept)
