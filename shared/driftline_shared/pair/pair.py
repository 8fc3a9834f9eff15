"""A pair = teacher + student + token space, read from one TOML file. Needs no torch.

Folder layout of a pair (see docs/models.md):

    pair.toml                what `spec` describes; any other name if it is the only TOML file there
    teacher/ student/        Hugging Face checkpoints (safetensors only), unless they are on the hub
    token_space.safetensors  low, high, mean, precision (see `TokenSpace`)
    token_codec.safetensors  tables of the `klt` token codecs (see `TokenTransform`); may be missing
    gate.safetensors         score kind -> sorted scores of the student on the source calibration
                             set
    p_ik.head                version 0's P(IK) head, if there is one: see `p_ik`
    source.safetensors       tokens (N, V, D) float16 of calibration images
    source.jsonl             their questions
    probe/                   images and probe.jsonl: the device's self-check set

An export of a pair (`pair.export_file`) is such a folder, too, with graphs instead of checkpoints
and without a source set: what only a cloud needs is missing in it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from driftline_shared.assembly.assemble import assembled
from driftline_shared.codec.transform.file import load_transform
from driftline_shared.errors import DataError, PairError
from driftline_shared.p_ik.head import P_IK, IkHead, read_head
from driftline_shared.pair import hub
from driftline_shared.pair.digest import token_space_digest as token_space_digest
from driftline_shared.pair.export_file import Export, is_export, load_export
from driftline_shared.pair.families import LANGUAGE_TARGETS, anatomy_of, read_config
from driftline_shared.pair.shipped import NOT_INSTALLED, shipped_pairs, shipped_root
from driftline_shared.pair.spec import CheckpointSpec, Dtype, PairSpec, read_spec
from driftline_shared.pair.spec import Quantization as Quantization
from driftline_shared.pair.token_space import FULL_WIDTH, MAX_WIDTH
from driftline_shared.pair.weights import file_headers, weight_files
from driftline_shared.pictures import read_image
from driftline_shared.tokens import Grid, TokenSpace

Side = Literal["teacher", "student"]

MAX_SOURCE_BYTES = 2 << 30
"""Most bytes of source.safetensors and gate.safetensors (2 GiB)."""


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
    language_targets: tuple[str, ...] = LANGUAGE_TARGETS
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
    """One row of the self-check set: `image` (H, W, 3) uint8, of a pair of clips (F, H, W, 3)."""

    image: NDArray[np.uint8]
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Canvas:
    """The size that every image of a pair is brought to, in pixels; clips have `frames` images."""

    height: int
    width: int
    frames: int = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One of the two models: where it is, its prompt, and what an accelerator computes in.

    `prompt` holds the image token once and then `{question}` once.
    """

    side: Side
    pair_dir: Path
    spec: CheckpointSpec
    prompt: str

    @cached_property
    def dir(self) -> Path:
        """Its folder, fetched or made if need be. Raises PairError saying what is missing."""
        return checkpoint_folder(self.pair_dir, self.side, self.spec)

    @property
    def id(self) -> str | None:
        """Its name on the model hub, when it comes from there."""
        return self.spec.id

    @property
    def revision(self) -> str | None:
        """The commit or tag on the hub."""
        return self.spec.revision or None

    @property
    def dtype(self) -> Dtype | None:
        """What an accelerator computes in; None: its own choice."""
        return self.spec.dtype


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A pair as far as its file goes: what can be known before anything is fitted."""

    file: Path
    spec: PairSpec

    @property
    def dir(self) -> Path:
        """The pair's folder: fitted files lie beside the TOML file."""
        return self.file.parent

    @cached_property
    def teacher(self) -> Checkpoint:
        return self._checkpoint("teacher", self.spec.teacher)

    @cached_property
    def student(self) -> Checkpoint:
        return self._checkpoint("student", self.spec.student)

    @property
    def grid(self) -> Grid | None:
        """Where tokens sit, once fitted."""
        grid = self.spec.token_space.grid
        return Grid(**grid.model_dump()) if grid is not None else None

    @property
    def canvas(self) -> Canvas | None:
        image = self.spec.token_space.image
        return Canvas(**image.model_dump()) if image is not None else None

    @cached_property
    def adapter(self) -> AdapterSpec:
        """With the family's own targets where the file names none."""
        given = self.spec.adapter.model_dump(exclude_none=True)
        lists = {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
        if "query_targets" not in lists:
            lists["query_targets"] = anatomy_of(self.student.dir).query_targets
        return AdapterSpec(**(given | lists))

    def _checkpoint(self, side: Side, spec: CheckpointSpec) -> Checkpoint:
        prompt = spec.prompt if spec.prompt is not None else self.spec.prompt
        return Checkpoint(side=side, pair_dir=self.dir, spec=spec, prompt=prompt)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Teacher, student and the token space they share.

    `prompt`: the student's, in which devices ask; `max_new_tokens` bounds an answer; `canvas` None:
    images are prepared as the family does by itself. `spec`: the file as written. `exported`: what
    the graphs beside it are, for an export.
    """

    name: str
    dir: Path
    file: Path
    spec: PairSpec
    teacher: Checkpoint
    student: Checkpoint
    quantization: Quantization
    max_new_tokens: int
    token_space: TokenSpace
    adapter: AdapterSpec
    canvas: Canvas | None = None
    exported: Export | None = None

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
        if self.exported is not None:
            return self.exported.base_model
        digest = hashlib.sha256(f"{self.quantization}\0{self.adapter}\0".encode())
        for path in weight_files(self.student_dir):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    @cached_property
    def gate(self) -> dict[str, NDArray[np.float64]]:
        """Score kind -> sorted scores of the student on the source calibration set."""
        arrays = _load(self.dir / "gate.safetensors")
        known = {kind: np.sort(scores.astype(np.float64)) for kind, scores in arrays.items()}
        return known if self.ik_head is None else {**known, P_IK: self.ik_head.calibration}

    @cached_property
    def ik_head(self) -> IkHead | None:
        """Version 0's P(IK) head; None where the pair has none. Raises PairError."""
        return read_head(self.dir)

    def source_set(self) -> SourceSet:
        """Tower tokens and questions of the source calibration images."""
        tokens = read_source_tokens(self.dir).astype(np.float32)
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
        """The self-check set of the device; of a pair of clips, pictures that stand still.

        Raises PairError for a picture that cannot be read.
        """
        folder = self.dir / "probe"
        items = []
        for row in _rows(folder / "probe.jsonl"):
            path = folder / Path(row["image"]).name
            try:
                pixels = read_image(path, place=str(folder))
            except DataError as error:
                raise PairError(str(error)) from error
            if self.canvas is not None and self.canvas.frames > 1:  # a view: no frame is copied
                pixels = np.broadcast_to(pixels, (self.canvas.frames, *pixels.shape))
            items.append(ProbeItem(image=pixels, question=row["question"], answer=row["answer"]))
        return items


def load_pair(name_or_path: str | Path) -> Pair:
    """The shipped pair of that name, or the pair in that folder or TOML file.

    Raises PairError with the missing file or the wrong key, and what would be right.
    """
    draft = load_draft(name_or_path)
    spec, grid = draft.spec, draft.grid
    exported = load_export(draft.dir) if is_export(draft.dir) else None
    # A teacher in the folder is looked for now; another is fetched or made by those who run it.
    if exported is None and draft.teacher.id is None and draft.teacher.spec.trained is None:
        _ = draft.teacher.dir
    if grid is None or not spec.token_space.digest:
        raise PairError(
            f"{draft.file}: the token space is not fitted yet; run "
            f"`driftline models fit-token-space {name_or_path} --images DIR`"
        )
    if exported is not None:
        _check_export(draft, exported)
    return Pair(
        name=spec.name,
        dir=draft.dir,
        file=draft.file,
        spec=spec,
        teacher=draft.teacher,
        student=draft.student,
        quantization=spec.student.quantization,
        max_new_tokens=spec.max_new_tokens,
        token_space=read_token_space(draft.dir, spec.token_space.digest, grid),
        adapter=draft.adapter,
        canvas=draft.canvas,
        exported=exported,
    )


def load_draft(name_or_path: str | Path) -> Draft:
    """The same pair as `load_pair` reads, before its fitted files and models are looked at."""
    file = find_pair(name_or_path)
    return Draft(file=file, spec=read_spec(file))


def checkpoint_folder(pair_dir: Path, side: Side, spec: CheckpointSpec) -> Path:
    """The folder of one side's checkpoint: `path`, else `id` on the hub, else what `trained`
    weights are assembled to, else the folder `side`.

    Raises PairError where there is none, or where it would need foreign code.
    """
    if is_export(pair_dir):
        raise PairError(
            f"{pair_dir} is an export: it holds graphs instead of a {side}; run it with "
            'runtime = "onnx", or give the pair it was made from'
        )
    if spec.path is not None:
        place = pair_dir / spec.path
    elif spec.id is not None:
        place = hub.snapshot(spec.id, spec.revision)
    elif spec.trained is not None:
        place = assembled(pair_dir / spec.trained)
    else:
        place = pair_dir / side
    if not (place / "config.json").is_file():
        raise PairError(f"{place} holds no checkpoint (config.json is missing)")
    if "auto_map" in read_config(place):
        raise PairError(
            f"{place}: config.json names code of its own (auto_map), which is never run; use a "
            "checkpoint in the form that transformers reads by itself"
        )
    return place


def _check_export(draft: Draft, exported: Export) -> None:
    """Raises PairError where pair.toml is not of the pair that was exported."""
    spec = draft.spec
    for key, written, found in (
        ("name", spec.name, exported.pair),
        ("token_space.digest", spec.token_space.digest, exported.token_space),
        ("token_space.grid", draft.grid, exported.token_grid),
        ("max_new_tokens", spec.max_new_tokens, exported.model.max_new_tokens),
        ("adapter.rank", spec.adapter.rank, exported.adapter.rank),
    ):
        if written != found:
            raise PairError(
                f"{draft.file}: {key} is {written}, export.json beside it says {found}; export the "
                "pair again"
            )


def read_token_space(
    folder: Path, digest: str, grid: Grid, *, with_transform: bool = True
) -> TokenSpace:
    """The fitted statistics in `folder`, their shapes checked before anything is read.

    `with_transform`: and the tables of the transform codec, where there are any.

    Raises PairError.
    """
    path = folder / "token_space.safetensors"
    shapes = {name: header.shape for name, header in file_headers(path).items()}
    width = shapes.get("low", ())[0] if len(shapes.get("low", ())) == 1 else 0
    precisions = [(width,), (width, width)] if width <= FULL_WIDTH else [(width,)]
    vectors = all(shapes.get(name) == (width,) for name in ("low", "high", "mean"))
    if not (1 <= width <= MAX_WIDTH and vectors and shapes.get("precision") in precisions):
        raise PairError(
            f"{path} has arrays of the wrong shape ({shapes}); run `driftline models "
            "fit-token-space`"
        )
    arrays = _load(path)
    kept = {name: arrays[name] for name in ("low", "high", "mean", "precision")}
    transform = load_transform(folder, width) if with_transform else None
    return TokenSpace(digest=digest, grid=grid, **kept, transform=transform)


def read_source_tokens(folder: Path) -> NDArray[np.floating]:
    """(N, V, D) tokens of the source calibration images: float16, or float32 where those are too
    narrow. Raises PairError.
    """
    tokens = _load(folder / "source.safetensors").get("tokens")
    if tokens is None or tokens.ndim != 3 or tokens.dtype not in (np.float16, np.float32):
        raise PairError(f"{folder / 'source.safetensors'} has no tokens of shape (N, V, D)")
    return tokens


def find_pair(name_or_path: str | Path) -> Path:
    """The TOML file of a pair, given by shipped name, folder or file. Raises PairError."""
    path = Path(name_or_path)
    if path.is_file():
        own = _pair_file(path.parent)
        if own is None or own.name != path.name:
            raise PairError(
                f"{path} is not the one TOML file of its folder: what is fitted lies beside it, so "
                "each pair has a folder of its own"
            )
        return own.resolve()
    if path.is_dir():
        own = _pair_file(path)
        if own is not None:
            return own.resolve()
    root = shipped_root()
    if root is not None and str(name_or_path) in shipped_pairs():
        return root / path / "pair.toml"
    raise PairError(
        f"no pair {str(name_or_path)!r}: no folder with a pair.toml, no TOML file, nor "
        + (f"one of {shipped_pairs()}" if root else NOT_INSTALLED),
        fix="Name one of these, or a pair's folder; `driftline models new` begins one.",
    )


def _pair_file(folder: Path) -> Path | None:
    """pair.toml, or the only TOML file there is."""
    files = sorted(folder.glob("*.toml"))
    own = [file for file in files if file.name == "pair.toml"] or files
    return own[0] if len(own) == 1 else None


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        if path.stat().st_size > MAX_SOURCE_BYTES:
            raise PairError(f"{path} has more than {MAX_SOURCE_BYTES} bytes; fit on fewer images")
        arrays: dict[str, NDArray[Any]] = load_file(path)
        return arrays
    except (OSError, SafetensorError) as error:
        raise PairError(f"{path} cannot be read: {error}") from error


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [
            json.loads(line)
            for line in path.read_text(encoding="utf-8").split("\n")
            if line.strip()
        ]
    except (OSError, ValueError) as error:
        raise PairError(f"{path} cannot be read: {error}") from error
