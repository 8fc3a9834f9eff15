"""The new pair folder: a copy of the pair whose student has the trained weights.

    pair.toml             the pair's own, under a new name
    student/              the checkpoint with its new language model, and beside it
        compressor.METHOD.safetensors
    everything else       as it was, gate.safetensors left out: it holds scores of the old student

`Pair.base_model` is a digest over the student's files, these weights included, so a device that
runs the new student never shares updates with one that runs the old. The tower is the same bit for
bit, and so is the token space.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from driftline_lab.recipes.compressors.student import Student
from driftline_lab.recipes.tiny.language import save_checkpoint
from driftline_shared.errors import ConfigError, DriftlineError, PairError
from driftline_shared.pair.digest import token_space_digest
from driftline_shared.pair.pair import Pair
from driftline_shared.pair.pair_file import write_name


def check_copyable(pair: Pair, out: Path) -> None:
    """Raises PairError where the pair's checkpoints lie elsewhere, ConfigError where `out` holds
    files.
    """
    for checkpoint in (pair.teacher, pair.student):
        if checkpoint.dir.parent.resolve() != pair.dir.resolve():
            raise PairError(
                f"{pair.file}: the {checkpoint.side} lies in {checkpoint.dir}, outside the pair's "
                "folder, so a copy of the pair would miss it"
            )
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty: name a new folder")


def write_pair(
    pair: Pair, out: Path, name: str, method: str, student: Student, weights: Mapping[str, Tensor]
) -> None:
    """Write the copy of `pair` under `name`. Raises as `check_copyable` does."""
    check_copyable(pair, out)
    left_out = shutil.ignore_patterns("gate.safetensors", "README.md", "model.safetensors")
    shutil.copytree(pair.dir, out, ignore=left_out, dirs_exist_ok=True)
    shutil.copytree(pair.teacher_dir, out / pair.teacher_dir.name, dirs_exist_ok=True)
    place = out / pair.student_dir.name
    save_checkpoint(place, student.model, student.tokenizer)
    save_weights(place / weights_file(method), weights)
    if pair.file.name != "pair.toml":
        (out / pair.file.name).rename(out / "pair.toml")
    write_name(out / "pair.toml", name)
    found = token_space_digest(place)
    if found != pair.token_space.digest:
        raise DriftlineError(f"{out}: the tower has changed in training, its digest is {found} now")


def weights_file(method: str) -> str:
    """Name of a method's weights beside the student's checkpoint."""
    return f"compressor.{method}.safetensors"


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """A method's weights as float32, whole or not at all."""
    new = path.with_suffix(".new")
    save_file({name: value.detach().float().contiguous() for name, value in weights.items()}, new)
    new.replace(path)
