"""A pair = teacher + student + token space, read from one TOML file. Needs no torch.

Folder layout of a pair (see docs/models.md):

    pair.toml                what follows, in words
    teacher/ student/        Hugging Face checkpoints (safetensors only)
    token_space.safetensors  low, high, mean, precision (see `TokenSpace`)
    gate.safetensors         score kind -> sorted scores of the student on the source calibration
    set source.safetensors       tokens (N, V, D) float16 of calibration images; source.jsonl: their
    questions probe/                   images and probe.jsonl: the device's self-check set
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from driftline_shared.errors import PairError
from driftline_shared.models.anatomy import Anatomy, anatomy_of, read_config
from driftline_shared.tokens import Grid, TokenSpace

Quantization = Literal["none", "int8", "nf4"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSpec:
    """Where adapters attach and how large they are; both sides build version 0 from it.

    `query_targets`: module names inside the projector, the family's own unless the pair names
    others; `language_targets`: inside each layer of the language model; `norms`: whether the norm
    weights of the language model are trained too. `dropout`: rate of the stochastic passes that
    measure uncertainty (never used for answers).
    """

    rank: int = 16
    alpha: float = 32.0
    query_targets: tuple[str, ...]
    language_targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    norms: bool = True
    seed: int = 0
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSet:
    """The source calibration set: `tokens` (N, V, D) float32; `rows` (image index, question,
    answer).
    """

    tokens: NDArray[np.float32]
    rows: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeItem:
    """One row of the self-check set: `image` (H, W, 3) uint8."""

    image: NDArray[np.uint8]
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Canvas:
    """The size that every image of a pair is brought to, in pixels; clips have `frames` images."""

    height: int
    width: int
    frames: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """One of the two models: its folder, its prompt, and what an accelerator computes in.

    `prompt` holds the image token once and then `{question}` once.
    """

    dir: Path
    prompt: str
    dtype: str | None = None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Teacher, student and the token space they share.

    `prompt`: the student's, in which devices ask; `max_new_tokens` bounds an answer; `canvas` None:
    images are prepared as the family does by itself.
    """

    name: str
    dir: Path
    teacher: Checkpoint
    student: Checkpoint
    quantization: Quantization
    max_new_tokens: int
    token_space: TokenSpace
    adapter: AdapterSpec
    canvas: Canvas | None = None

    @property
    def prompt(self) -> str:
        return self.student.prompt

    @property
    def teacher_dir(self) -> Path:
        return self.teacher.dir

    @property
    def student_dir(self) -> Path:
        return self.student.dir

    @cached_property
    def base_model(self) -> str:
        """Hex digest of the frozen student weights as the device runs them (quantized)."""
        digest = hashlib.sha256(f"{self.quantization}\0{self.adapter}\0".encode())
        for path in sorted(self.student_dir.glob("*.safetensors")):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    @cached_property
    def gate(self) -> dict[str, NDArray[np.float64]]:
        """Score kind -> sorted scores of the student on the source calibration set."""
        arrays = _load(self.dir / "gate.safetensors")
        return {kind: np.sort(scores.astype(np.float64)) for kind, scores in arrays.items()}

    def source_set(self) -> SourceSet:
        """Tower tokens and questions of the source calibration images."""
        tokens = _load(self.dir / "source.safetensors")["tokens"].astype(np.float32)
        rows = tuple(
            (int(row["image"]), str(row["question"]), str(row["answer"]))
            for row in _rows(self.dir / "source.jsonl")
        )
        if any(not 0 <= index < len(tokens) for index, _, _ in rows):
            raise PairError(
                f"{self.dir / 'source.jsonl'} names an image that source.safetensors lacks"
            )
        return SourceSet(tokens=tokens, rows=rows)

    def probe_set(self) -> list[ProbeItem]:
        """The self-check set of the device."""
        from PIL import Image

        folder = self.dir / "probe"
        items = []
        for row in _rows(folder / "probe.jsonl"):
            with Image.open(folder / Path(row["image"]).name) as image:
                pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
            items.append(ProbeItem(image=pixels, question=row["question"], answer=row["answer"]))
        return items


def load_pair(name_or_dir: str | Path) -> Pair:
    """The shipped pair of that name, or the pair in that folder.

    Raises PairError with the missing file or the wrong key, and what would be right.
    """
    folder = _find(name_or_dir)
    try:
        spec = tomllib.loads((folder / "pair.toml").read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise PairError(f"{folder / 'pair.toml'} cannot be read: {error}") from error
    try:
        grid = Grid(**spec["token_space"]["grid"])
        arrays = _load(folder / "token_space.safetensors")
        space = TokenSpace(
            digest=spec["token_space"]["digest"],
            grid=grid,
            low=arrays["low"],
            high=arrays["high"],
            mean=arrays["mean"],
            precision=arrays["precision"],
        )
        student = _checkpoint(folder, spec, "student")
        image = spec["token_space"].get("image")
        pair = Pair(
            name=spec["name"],
            dir=folder,
            teacher=_checkpoint(folder, spec, "teacher"),
            student=student,
            quantization=spec["student"]["quantization"],
            max_new_tokens=int(spec["max_new_tokens"]),
            token_space=space,
            adapter=_adapter_spec(spec.get("adapter", {}), student.dir),
            canvas=Canvas(**image, frames=grid.frames) if image is not None else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PairError(f"{folder / 'pair.toml'}: missing or wrong key {error}") from error
    if pair.quantization not in ("none", "int8", "nf4"):
        raise PairError(f"{folder / 'pair.toml'}: quantization is none, int8 or nf4")
    return pair


def token_space_digest(model_dir: Path) -> str:
    """Hex sha256 of the vision tower's tensors and of how images are prepared for it.

    Two checkpoints with the same digest give the same tokens for the same image.
    """
    digest, parts = hashlib.sha256(), anatomy_of(model_dir)
    tensors: dict[str, tuple[Path, str]] = {}
    for path in sorted(model_dir.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            keys = [key for key in file.keys() if _is_tower(key, parts)]  # noqa: SIM118
            tensors |= {_tower_name(key, parts): (path, key) for key in keys}
    if not tensors:
        raise PairError(f"{model_dir}: no {parts.tower} tensors in its safetensors files")
    for name in sorted(tensors):
        path, key = tensors[name]
        with safe_open(path, framework="numpy") as file:
            array = file.get_tensor(key)
        digest.update(f"{name}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    config = read_config(model_dir)
    preparation = json.loads((model_dir / "preprocessor_config.json").read_text())
    chosen = {key: config.get(key) for key in parts.preparation}
    kept = {
        k: v
        for k, v in preparation.items()
        if k.startswith(("do_", "image_", "rescale", "resample", "size"))
    }
    digest.update(json.dumps([chosen, kept], sort_keys=True).encode())
    return digest.hexdigest()


def shipped_pairs() -> list[str]:
    """Names of the pairs inside this install."""
    root = Path(str(resources.files("driftline_shared").joinpath("pairs")))
    return sorted(path.parent.name for path in root.glob("*/pair.toml"))


def _find(name_or_dir: str | Path) -> Path:
    folder = Path(name_or_dir)
    if (folder / "pair.toml").is_file():
        return folder.resolve()
    shipped = Path(str(resources.files("driftline_shared").joinpath("pairs", str(name_or_dir))))
    if len(folder.parts) == 1 and (shipped / "pair.toml").is_file():
        return shipped
    raise PairError(
        f"no pair {str(name_or_dir)!r}: no folder with a pair.toml, nor one of {shipped_pairs()}"
    )


def _checkpoint(folder: Path, spec: dict[str, Any], side: str) -> Checkpoint:
    section = spec.get(side, {})
    place = folder / section.get("path", side)
    if not (place / "config.json").is_file():
        raise PairError(f"{place} holds no checkpoint (config.json is missing)")
    return Checkpoint(
        dir=place, prompt=section.get("prompt", spec["prompt"]), dtype=section.get("dtype")
    )


def _adapter_spec(section: dict[str, Any], student_dir: Path) -> AdapterSpec:
    lists = {k: tuple(v) for k, v in section.items() if isinstance(v, list)}
    targets = {"query_targets": anatomy_of(student_dir).query_targets}
    return AdapterSpec(**(targets | section | lists))


def _is_tower(key: str, parts: Anatomy) -> bool:
    _, found, inside = f".{key}".partition(f".{parts.tower}.")
    return bool(found) and inside.split(".")[0] not in parts.not_tower


def _tower_name(key: str, parts: Anatomy) -> str:
    # Some releases of transformers wrap the tower's layers in one module more than others.
    inside = f".{key}".partition(f".{parts.tower}.")[2]
    return f"{parts.tower}.{inside.removeprefix('vision_model.')}"


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise PairError(f"{path} cannot be read: {error}") from error


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, json.JSONDecodeError) as error:
        raise PairError(f"{path} cannot be read: {error}") from error
