"""pair.toml as it is written: every key, its type and its default. Needs no torch.

A key that is not known is an error which names the nearest one that is: a mistyped key would else
be a default that nobody chose.
"""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from driftline_shared.errors import PairError
from driftline_shared.tokens import MAX_TOKENS

Quantization = Literal["none", "int8", "nf4"]
Dtype = Literal["float32", "bfloat16", "float16"]
VocabularyMode = Literal["same", "shared", "sequence"]

MAX_FILE_BYTES = 1 << 20
"""Most bytes of a pair.toml (1 MiB)."""

MAX_SIDE_PIXELS = 8_192
MAX_FRAMES = 1_024

_Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PIXELS)]
_Count = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
_Frames = Annotated[int, Field(ge=1, le=MAX_FRAMES)]
_Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class Section(BaseModel):
    """Base of every table: unknown keys are errors, a text is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CheckpointSpec(Section):
    """Where one model comes from: a folder (`path`, relative to the file), a hub `id` at a
    `revision`, or a file of `trained` weights that is merged into packaged ones (`assembly`).

    `dtype`: what an accelerator computes in. `prompt`: where this side wants another one.
    """

    path: str | None = Field(default=None, min_length=1)
    id: str | None = Field(default=None, pattern=r"^[\w.-]+(/[\w.-]+)?$", max_length=96)
    revision: str = ""
    trained: str | None = Field(default=None, min_length=1)
    dtype: Dtype | None = None
    prompt: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> CheckpointSpec:
        if sum(place is not None for place in (self.path, self.id, self.trained)) > 1:
            raise ValueError(
                "of path, id and trained more than one is given; a checkpoint comes from one place"
            )
        if self.revision and self.id is None:
            raise ValueError("revision belongs to an id; a folder has none")
        return self


class StudentSpec(CheckpointSpec):
    """The student; `quantization` is what devices run its language model in."""

    quantization: Quantization


class GridSpec(Section):
    """Where tokens sit, as `Grid`."""

    frames: _Frames = 1
    rows: _Count
    cols: _Count


class ImageSpec(Section):
    """The canvas; `frames` above 1 for clips. (A grid's frames can be the tiles of one image.)"""

    height: _Side
    width: _Side
    frames: _Frames = 1


class TokenSpaceSpec(Section):
    """`digest` and `grid` are written by `driftline models fit-token-space`."""

    digest: _Digest = ""
    grid: GridSpec | None = None
    image: ImageSpec | None = None


class AdapterSection(Section):
    """What `AdapterSpec` takes; targets default to the family's own."""

    rank: int = Field(default=16, ge=1, le=1_024)
    alpha: float = Field(default=32.0, gt=0.0, allow_inf_nan=False)
    query_targets: list[str] | None = Field(default=None, min_length=1)
    language_targets: list[str] | None = Field(default=None, min_length=1)
    norms: bool = True
    seed: int = Field(default=0, ge=0)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)


class TranslatorSpec(Section):
    """How device tokens become the teacher's, where the towers differ (see `translator`).

    `rank`: of a linear map (0: full). The rest is written by `driftline models fit-token-space`:
    `relative_error` (1 - R^2, mean over channels) and `cosine` on `num_images` held-out images.
    """

    kind: Literal["linear", "mlp"] = "linear"
    rank: int = Field(default=0, ge=0, le=65_536)
    relative_error: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    cosine: float | None = Field(default=None, ge=-1.0, le=1.0)
    num_images: int = Field(default=0, ge=0)


class DistillationSpec(Section):
    """`vocabulary` None: decided when the models are loaded. The others are `distil` settings that
    suit this pair, where a cloud sets none of its own; None: the product's default.
    """

    vocabulary: VocabularyMode | None = None
    learning_rate: float | None = Field(default=None, ge=0.0, le=1.0, allow_inf_nan=False)
    a5: float | None = Field(default=None, ge=0.0, le=1e3, allow_inf_nan=False)
    max_steps: int | None = Field(default=None, ge=1, le=1_000_000)
    extra_questions: int | None = Field(default=None, ge=0, le=100)
    num_source_rows: int | None = Field(default=None, ge=0, le=1_000_000)
    trained_share: float | None = Field(default=None, ge=1e-6, le=1.0, allow_inf_nan=False)

    @property
    def settings(self) -> dict[str, object]:
        """The `distil` settings that are named."""
        return self.model_dump(exclude={"vocabulary"}, exclude_none=True)


class PairSpec(Section):
    """One pair.toml. `note` is shown where pairs are listed."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)
    prompt: str = Field(min_length=1)
    max_new_tokens: int = Field(ge=1, le=4_096)
    note: str = ""
    teacher: CheckpointSpec = CheckpointSpec()
    student: StudentSpec
    token_space: TokenSpaceSpec = TokenSpaceSpec()
    adapter: AdapterSection = AdapterSection()
    translator: TranslatorSpec | None = None
    distillation: DistillationSpec = DistillationSpec()


def read_spec(file: Path) -> PairSpec:
    """The pair that `file` describes. Raises PairError naming each wrong key and what is right."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise PairError(f"{file} has more than {MAX_FILE_BYTES} bytes: that is no pair.toml")
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PairError(f"{file} cannot be read: {error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PairError(
            f"{file} is no TOML in UTF-8: {error}", fix="Correct the file where that says."
        ) from error
    try:
        return PairSpec.model_validate(table)
    except ValidationError as error:
        problems = "; ".join(_sentence(one) for one in error.errors())
        raise PairError(
            f"{file}: {problems}",
            fix="Correct the file; docs/models.md has a table of its keys and what each takes.",
        ) from error


def _sentence(error: Mapping[str, Any]) -> str:
    """One error of pydantic in our words."""
    place = [str(part) for part in error["loc"]]
    key = ".".join(place) or "the file"
    if error["type"] == "extra_forbidden":
        known = _known_keys(place[:-1])
        near = difflib.get_close_matches(place[-1], known, n=1)
        return f"unknown key {key}; " + (
            f"did you mean {'.'.join([*place[:-1], near[0]])}?" if near else f"known are {known}"
        )
    if error["type"] == "missing":
        return f"key {key} is missing"
    if error["type"] == "value_error":
        return f"[{key}] {error['ctx']['error']}"
    return f"{key} is {error['input']!r}: {error['msg']}"


def _known_keys(place: list[str]) -> list[str]:
    """Keys of the table at `place`."""
    kind: type[BaseModel] = PairSpec
    for part in place:
        annotation = kind.model_fields[part].annotation
        options = (
            get_args(annotation)
            if get_origin(annotation) in (Union, types.UnionType)
            else (annotation,)
        )
        kind = next(one for one in options if isinstance(one, type) and issubclass(one, BaseModel))
    return sorted(kind.model_fields)
