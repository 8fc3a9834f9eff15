"""Adapters as safetensors bytes: in slots, releases and between workers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from driftline_shared.update import Adapter


def adapter_to_bytes(adapter: Adapter) -> bytes:
    """float32 tensors in name order, so that equal adapters give equal bytes."""
    arrays = {
        name: np.ascontiguousarray(adapter[name], dtype=np.float32) for name in sorted(adapter)
    }
    return bytes(save(arrays))


def adapter_from_bytes(data: bytes) -> dict[str, NDArray[np.float32]]:
    """What `adapter_to_bytes` was given, in name order; SafetensorError if it is anything else."""
    # A file gives its tensors in any order, and work may draw numbers by tensor.
    return dict(sorted(load(data).items()))
