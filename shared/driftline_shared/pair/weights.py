"""The safetensors files of a checkpoint and what their headers say; no weights are read for it.

Needs no torch. Tensors that are read come as float32, whatever they are stored in.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from driftline_shared.errors import PairError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

MAX_HEADER_BYTES = 64 << 20
"""Most bytes of one file's header (64 MiB): it is parsed as a whole."""

MAX_INDEX_BYTES = 64 << 20
MAX_TENSORS = 1_000_000

BITS: dict[str, int] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip
"""Stored type of a tensor -> bits of one value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """One tensor as its file describes it."""

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_values(self) -> int:
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        return self.num_values * BITS.get(self.dtype, 32) // 8


def weight_files(model_dir: Path) -> list[Path]:
    """The files that hold the weights, sorted: `model.safetensors`, else those of the index, as
    transformers looks for them; else every one there is.

    Raises PairError for an index that cannot be read, or that names a file which is not there.
    """
    single, index = model_dir / SINGLE, model_dir / INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        return sorted(model_dir.glob("*.safetensors"))
    try:
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise PairError(f"{index} has more than {MAX_INDEX_BYTES} bytes")
        shards = {
            str(name)
            for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        }
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise PairError(f"{index} cannot be read: {error!r}") from error
    # A shard's name is a file of this folder, never a path out of it.
    files = [model_dir / Path(name).name for name in sorted(shards)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise PairError(f"{model_dir} lacks {missing}, which {INDEX} names; fetch it again")
    return files


def headers(model_dir: Path) -> dict[str, Header]:
    """Tensor name -> header, over all files. Raises PairError for files that cannot be read."""
    found: dict[str, Header] = {}
    for path in weight_files(model_dir):
        found |= file_headers(path)
        if len(found) > MAX_TENSORS:
            raise PairError(f"{model_dir} has more than {MAX_TENSORS} tensors")
    if not found:
        raise PairError(
            f"{model_dir} holds no safetensors; pickled weights can run code and are never read"
        )
    return found


def file_headers(path: Path) -> dict[str, Header]:
    """Tensor name -> header of one file, its size bounded before it is parsed."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if len(start) < 8 or struct.unpack("<Q", start)[0] > MAX_HEADER_BYTES:
            raise PairError(f"{path} is no safetensors file, or its header is too large")
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: Header(file=path, dtype=one.get_dtype(), shape=tuple(one.get_shape()))
                for name, one in slices.items()
            }
    except (OSError, SafetensorError) as error:
        raise PairError(f"{path} cannot be read: {error}") from error


def read_tensor(header: Header, name: str) -> NDArray[np.float32]:
    """One tensor as float32. numpy knows no bfloat16: its bits are the upper half of a float32."""
    if header.dtype != "BF16":
        with safe_open(header.file, framework="numpy") as file:
            return np.ascontiguousarray(file.get_tensor(name), dtype="<f4")
    with header.file.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        begin, _ = json.loads(file.read(length))[name]["data_offsets"]
        file.seek(8 + length + begin)
        half = np.frombuffer(file.read(header.num_bytes), dtype="<u2")
    return (half.astype("<u4") << 16).view("<f4").reshape(header.shape)
