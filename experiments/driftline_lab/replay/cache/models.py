"""What results depend on beside what was asked: a pair's models and sets, and the software."""

from __future__ import annotations

import hashlib
from importlib import metadata

from driftline_cloud.service.assembly import digest_teacher
from driftline_shared.pair.pair import Pair

_SETS = (".toml", ".safetensors", ".jsonl")
"""Kinds of the files in a pair's folder that its rounds read, beside the models."""

_SOFTWARE = ("driftline", "torch", "transformers", "numpy")


def models_digest(pair: Pair) -> str:
    """Hex sha256 of a pair's models and sets, and of the software whose sums they depend on."""
    digest = hashlib.sha256(f"{digest_teacher(pair)}\0{pair.base_model}\0".encode())
    for package in _SOFTWARE:
        digest.update(f"{package} {metadata.version(package)}\0".encode())
    for path in sorted(pair.dir.iterdir()):
        if path.suffix in _SETS and path.is_file():
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
