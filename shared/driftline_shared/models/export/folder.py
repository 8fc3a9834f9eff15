"""The folder of an export: where it may be written, what is copied into it, how it replaces one."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import nn

from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.adapters.slots import drawn
from driftline_shared.p_ik.head import HEAD_FILE
from driftline_shared.pair.export_file import (
    EMBEDDINGS,
    VERSION_0,
    AdapterTable,
    FileEntry,
    adapter_shapes,
    file_digest,
    is_export,
)
from driftline_shared.pair.pair import Pair
from driftline_shared.pair.pair_file import write_query_targets

_FITTED = (
    "token_space.safetensors",
    "gate.safetensors",
    "token_codec.safetensors",
    HEAD_FILE,
)


def check_target(out: Path, *, force: bool) -> None:
    """Raise ConfigError unless `out` is new or empty, or an export that `force` may replace."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder")
    if not any(out.iterdir()):
        return
    if not is_export(out):
        raise ConfigError(
            f"--out {out} holds other files and no export; name a new or an empty folder"
        )
    if not force:
        raise ConfigError(f"--out {out} holds an export already; replace it with --force")


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when all went well, and is gone otherwise."""
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        made, old = scratch / "made", scratch / "old"
        made.mkdir()
        yield made
        # The safetensors library makes files that only their owner may read; a device's daemon runs
        # as somebody else.
        for path in made.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        made.chmod(0o755)
        if out.exists():
            out.rename(old)
        made.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def copy_pair(pair: Pair, folder: Path) -> None:
    """pair.toml with the adapter's targets written out, what was fitted, and the self-check set.

    Raises PairError where a file is missing.
    """
    try:
        shutil.copyfile(pair.file, folder / "pair.toml")
        for name in _FITTED:
            # The gate is fitted on a device, after the token space; a pair may not have it yet, and
            # need not have tables of a codec.
            if (pair.dir / name).is_file():
                shutil.copyfile(pair.dir / name, folder / name)
        _copy_probe(pair.dir / "probe", folder / "probe")
    except OSError as error:
        raise PairError(f"{pair.dir} cannot be copied: {error}") from error
    write_query_targets(folder / "pair.toml", pair.adapter.query_targets)


def write_embeddings(weight: torch.Tensor, folder: Path) -> None:
    """embeddings.safetensors: float16 where that loses nothing, else float32."""
    array = weight.detach().to("cpu", torch.float32).contiguous().numpy()
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    exact = bool(np.array_equal(half.astype(np.float32), array))
    save_file({EMBEDDINGS: half if exact else array}, folder / "embeddings.safetensors")


def write_version_0(table: AdapterTable, seed: int, language: nn.Module, folder: Path) -> None:
    """version0.safetensors: the adapter that both sides begin with; norms are `language`'s."""

    def norm(name: str) -> NDArray[np.float32]:
        weight = language.get_parameter(f"{name}.weight")
        array: NDArray[np.float32] = weight.detach().to("cpu", torch.float32).numpy()
        return array

    save_file(dict(drawn(adapter_shapes(table), norm, seed)), folder / VERSION_0)


def entries(folder: Path) -> dict[str, FileEntry]:
    """Every file of `folder`, by its path inside, with digest and size."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): FileEntry(
            sha256=file_digest(path), num_bytes=path.stat().st_size
        )
        for path in files
    }


def _copy_probe(source: Path, target: Path) -> None:
    rows = source / "probe.jsonl"
    if not rows.is_file():
        return
    target.mkdir()
    shutil.copyfile(rows, target / rows.name)
    for line in rows.read_text(encoding="utf-8").split("\n"):
        name = Path(str(json.loads(line)["image"])).name if line.strip() else ""
        if name and not (target / name).exists():
            shutil.copyfile(source / name, target / name)
