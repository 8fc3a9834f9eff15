"""A teacher with another vision tower: device tokens translated into the teacher's, then read.

The translator is fitted where both towers see the same pixels (`translator_fit`) and lies beside
pair.toml as safetensors:

    linear   weight (D_s, D_t), bias (D_t,); with a rank R: down (D_s, R), up (R, D_t), bias
    mlp      besides: mean, scale (D_s,), inner (D_s, H), inner_bias (H,), outer (H, D_t);
             y = linear(x) + gelu((x - mean) / scale inner + inner_bias) outer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from driftline_shared.errors import PairError
from driftline_shared.models.fit.translation import MAX_TRANSLATOR_BYTES, TranslatorKind, cell_map
from driftline_shared.models.multimodal import LmBatch, MultimodalModel, WrappedModel
from driftline_shared.tokens import Grid

_HIDDEN = ("mean", "scale", "inner", "inner_bias", "outer")


@dataclass(frozen=True, kw_only=True)
class Translator:
    """Device tokens (..., D_s) -> teacher tokens (..., D_t), float32; and where they go.

    `tensors`: as in the module's docstring. `student_grid`, `teacher_grid`: see `cell_map`.
    """

    tensors: dict[str, Tensor]
    student_grid: Grid
    teacher_grid: Grid

    @staticmethod
    def identity(width: int, grid: Grid) -> Translator:
        """Changes nothing: for towers that are one."""
        tensors = {"weight": torch.eye(width), "bias": torch.zeros(width)}
        return Translator(tensors=tensors, student_grid=grid, teacher_grid=grid)

    @property
    def kind(self) -> TranslatorKind:
        return "mlp" if "inner" in self.tensors else "linear"

    @property
    def student_width(self) -> int:
        """D_s."""
        return int(self.tensors["weight" if "weight" in self.tensors else "down"].shape[0])

    @property
    def teacher_width(self) -> int:
        """D_t."""
        return int(self.tensors["bias"].shape[0])

    def __call__(self, tokens: Tensor) -> Tensor:
        """(..., D_s) of any float type -> (..., D_t) float32."""
        held, x = self.tensors, tokens.to(self.tensors["bias"].device, torch.float32)
        y = x @ held["weight"] if "weight" in held else x @ held["down"] @ held["up"]
        y = y + held["bias"]
        if "inner" in held:
            hidden = (x - held["mean"]) / held["scale"] @ held["inner"] + held["inner_bias"]
            y = y + F.gelu(hidden) @ held["outer"]
        return y

    def to(self, device: torch.device) -> Translator:
        """The same on another device."""
        return replace(self, tensors={name: t.to(device) for name, t in self.tensors.items()})

    def save(self, path: Path) -> None:
        """Write the tensors and the two grids, so that it cannot be read for another pair."""
        held = {name: tensor.cpu().contiguous() for name, tensor in self.tensors.items()}
        grids = {"student_grid": _text(self.student_grid), "teacher_grid": _text(self.teacher_grid)}
        save_file(held, path, metadata=grids)


def load_translator(path: Path, student_grid: Grid, teacher_grid: Grid) -> Translator:
    """Read what `Translator.save` wrote; sizes are checked before anything is allocated.

    Raises PairError for a missing or broken file, and for one that was fitted on other grids.
    """
    again = "run `driftline models fit-token-space`"
    if not path.is_file():
        raise PairError(f"{path} is missing; teacher and student have different towers, so {again}")
    if path.stat().st_size > MAX_TRANSLATOR_BYTES + (1 << 20):
        raise PairError(f"{path} has more than {MAX_TRANSLATOR_BYTES} bytes: no translator is so")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            _check_shapes(path, shapes)
            tensors = {name: file.get_tensor(name) for name in shapes}
    except (OSError, SafetensorError) as error:
        raise PairError(f"{path} cannot be read: {error}") from error
    wanted = {"student_grid": _text(student_grid), "teacher_grid": _text(teacher_grid)}
    for name, grid in wanted.items():
        if metadata.get(name) != grid:
            raise PairError(
                f"{path} was fitted for {name} {metadata.get(name)}, this pair has {grid}; {again}"
            )
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise PairError(f"{path}: {name} is not finite float32; {again}")
    return Translator(tensors=tensors, student_grid=student_grid, teacher_grid=teacher_grid)


class TranslatedTeacher(WrappedModel):
    """A teacher behind the MultimodalModel protocol that reads the device's tokens.

    `project` gives one vector per device token, so K stays what it is and every term of the loss
    that compares token by token applies. `batch` puts each at the teacher's cell under it; tokens
    that fall into one cell are averaged there *after* the projector, as one position is one vector.
    """

    def __init__(self, teacher: MultimodalModel, translator: Translator) -> None:
        if translator.teacher_grid != teacher.grid:
            raise PairError(
                f"the translator leads to {_text(translator.teacher_grid)} tokens, the teacher "
                f"reads {_text(teacher.grid)}; run `driftline models fit-token-space`"
            )
        super().__init__(teacher)
        self.grid = translator.student_grid
        self._translator = translator.to(teacher.device)
        self._cells = torch.from_numpy(cell_map(translator.student_grid, translator.teacher_grid))

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Refused: this teacher's own tower gives tokens that are not the device's."""
        raise PairError("a translated teacher reads the student's tokens; encode with the student")

    def project(self, tokens: Tensor) -> Tensor:
        """(B, K, D_s) -> (B, K, D): translated, then projected, token by token."""
        return self.wrapped.project(self._translator(tokens))

    def batch(
        self,
        projected: Tensor,
        positions: Tensor,
        questions: Sequence[str],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> LmBatch:
        """See `MultimodalModel.batch`; `positions` are the device's."""
        merged = merge_cells(projected, self._cells[positions.cpu()], self.wrapped.num_tokens)
        batch = self.wrapped.batch(merged.tokens, merged.cells, questions, answers)
        if bool(merged.filled.all()):
            return batch
        # Rows of one batch may fill different numbers of cells: what is too many is not attended.
        filled = merged.filled.to(batch.attention_mask)
        mask = batch.attention_mask.scatter(1, batch.visual, filled)
        return replace(batch, attention_mask=mask)


@dataclass(frozen=True, kw_only=True)
class MergedCells:
    """Tokens at distinct, rising cells: `tokens` (B, M, D), `cells` (B, M) int64, `filled` (B, M).

    M is the most distinct cells of a row; rows with fewer have cells that are not `filled`.
    """

    tokens: Tensor
    cells: Tensor
    filled: Tensor


def merge_cells(tokens: Tensor, cells: Tensor, num_cells: int) -> MergedCells:
    """Average the tokens (B, K, D) of each row that lie in one cell; `cells` (B, K) int64, CPU."""
    if cells.shape[1] < 2 or bool((cells.diff(dim=1) > 0).all()):
        return MergedCells(tokens=tokens, cells=cells, filled=torch.ones_like(cells).bool())
    rows = [row.unique() for row in cells]
    most = max(len(row) for row in rows)
    found = torch.stack([_filled_up(row, most, num_cells) for row in rows])
    # (B, M, K): 1 where token k lies in cell m. A product, not an index sum: its order is fixed.
    weights = (found[:, :, None] == cells[:, None, :]).to(tokens.dtype)
    counts = weights.sum(dim=2, keepdim=True)
    weights = (weights / counts.clamp(min=1.0)).to(tokens.device)
    return MergedCells(tokens=weights @ tokens, cells=found, filled=counts[:, :, 0] > 0)


def _filled_up(row: Tensor, count: int, num_cells: int) -> Tensor:
    """`row` and as many of the first other cells as make `count`, rising."""
    free = torch.ones(num_cells, dtype=torch.bool)
    free[row] = False
    return torch.cat([row, free.nonzero()[: count - len(row), 0]]).sort().values


def _check_shapes(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises PairError unless `shapes` are those of one of the two kinds."""
    names = {"bias", *(("weight",) if "weight" in shapes else ("down", "up"))}
    if "inner" in shapes:
        names.update(_HIDDEN)
    if names == shapes.keys() and len(shapes["bias"]) == 1:
        first = shapes["weight" if "weight" in shapes else "down"]
        theirs, ours = shapes["bias"][0], first[0] if len(first) == 2 else -1
        rank = shapes["down"][-1] if "down" in shapes else -1
        hidden = shapes["inner"][-1] if "inner" in shapes else -1
        right = {
            "weight": (ours, theirs),
            "down": (ours, rank),
            "up": (rank, theirs),
            "bias": (theirs,),
            "mean": (ours,),
            "scale": (ours,),
            "inner": (ours, hidden),
            "inner_bias": (hidden,),
            "outer": (hidden, theirs),
        }
        if all(shape == right[name] for name, shape in shapes.items()):
            return
    raise PairError(f"{path} holds no translator: its tensors are {shapes}")


def _text(grid: Grid) -> str:
    return f"{grid.frames}x{grid.rows}x{grid.cols}"
