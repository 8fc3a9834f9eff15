"""Arrays with a few words beside them as one blob: safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from driftline_shared.errors import DataError

Arrays = dict[str, np.ndarray[Any, Any]]


def tensors_to_bytes(arrays: Mapping[str, np.ndarray[Any, Any]], words: Mapping[str, str]) -> bytes:
    """What `tensors_from_bytes` reads. The arrays are contiguous."""
    return bytes(save(dict(arrays), metadata=dict(words)))


def tensors_from_bytes(content: bytes) -> tuple[Arrays, dict[str, str]]:
    """(arrays, words); DataError for anything else."""
    try:
        length = int.from_bytes(content[:8], "little")
        words = json.loads(content[8 : 8 + length])["__metadata__"]
        return load(content), words
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"it holds no arrays: {error}") from error
