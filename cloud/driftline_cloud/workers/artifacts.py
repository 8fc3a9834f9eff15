"""A candidate on disk: what a round keeps between two states, and a worker of Ray hands back.

    <state>/rounds/<round id>/distilling.checkpoint    while it trains: see distill/checkpoints
                              distilled.safetensors    adapter.*, importance.*, numbers
                              packed.safetensors       see rounds/releases.py

A file that bears its name is whole; a draft left by a kill is overwritten by the next try.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from driftline_cloud.jobs import Distilled
from driftline_shared.host.durable import write_atomic

_DISTILLED = "distilled.safetensors"


def save_distilled(folder: Path, distilled: Distilled) -> None:
    """Keep a candidate with its importance and numbers."""
    arrays = {
        f"{kind}.{name}": np.ascontiguousarray(array, dtype=np.float32)
        for kind, adapter in (("adapter", distilled.adapter), ("importance", distilled.importance))
        for name, array in adapter.items()
    }
    content = save(arrays, metadata={"numbers": json.dumps(distilled.numbers, sort_keys=True)})
    write_atomic(folder / _DISTILLED, content)


def load_distilled(folder: Path) -> Distilled | None:
    """The candidate kept in `folder`; None if there is none that can be read."""
    path = folder / _DISTILLED
    if not path.is_file():
        return None
    parts: dict[str, dict[str, np.ndarray]] = {"adapter": {}, "importance": {}}
    try:
        with safe_open(path, framework="numpy") as file:
            numbers = json.loads(file.metadata()["numbers"])
            for key in sorted(file.keys()):
                kind, _, name = key.partition(".")
                parts[kind][name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    return Distilled(adapter=parts["adapter"], importance=parts["importance"], numbers=numbers)
