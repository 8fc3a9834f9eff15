"""A candidate as it is kept: what a round keeps between two states, and a worker of Ray hands back.

    rounds/<round id>/distilling.checkpoint    while it trains: see distill/checkpoints
                      distilled.safetensors    adapter.*, importance.*, numbers
                      packed.safetensors       see rounds/releases.py

In the state folder, or in the artifact store. What bears its name is whole.
"""

from __future__ import annotations

import json

import numpy as np

from driftline_cloud.blobs.store import BlobStore
from driftline_cloud.blobs.tensors import tensors_from_bytes, tensors_to_bytes
from driftline_cloud.jobs import Distilled
from driftline_shared.errors import DataError

_DISTILLED = "distilled.safetensors"


def save_distilled(place: BlobStore, distilled: Distilled) -> None:
    """Keep a candidate with its importance and numbers in `place`, its round's."""
    arrays = {
        f"{kind}.{name}": np.ascontiguousarray(array, dtype=np.float32)
        for kind, adapter in (("adapter", distilled.adapter), ("importance", distilled.importance))
        for name, array in adapter.items()
    }
    words = {"numbers": json.dumps(distilled.numbers, sort_keys=True)}
    place.put(_DISTILLED, tensors_to_bytes(arrays, words))


def load_distilled(place: BlobStore) -> Distilled | None:
    """The candidate kept in `place`; None if there is none that can be read."""
    parts: dict[str, dict[str, np.ndarray]] = {"adapter": {}, "importance": {}}
    try:
        content = place.get(_DISTILLED)
        if content is None:
            return None
        arrays, words = tensors_from_bytes(content)
        numbers = json.loads(words["numbers"])
        for key in sorted(arrays):
            kind, _, name = key.partition(".")
            parts[kind][name] = arrays[key]
    except (DataError, KeyError, ValueError, TypeError):
        return None
    return Distilled(adapter=parts["adapter"], importance=parts["importance"], numbers=numbers)
