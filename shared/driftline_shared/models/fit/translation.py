"""What of a translator can be known without torch: which cell goes where, and what it weighs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import PairError
from driftline_shared.tokens import Grid

TranslatorKind = Literal["linear", "mlp"]

TRANSLATOR_FILE = "translator.safetensors"
"""Beside pair.toml."""

MAX_TRANSLATOR_BYTES = 1 << 30
"""Most bytes of a translator (1 GiB); a linear one from 12288 to 5120 channels has 252 MB."""

MIN_HIDDEN, MAX_HIDDEN = 64, 1024
"""Hidden units of an MLP translator: twice the wider side, within these."""


def cell_map(student: Grid, teacher: Grid) -> NDArray[np.int64]:
    """(V_s,) int64: for each cell of `student` the cell of `teacher` that lies under its centre.

    Frames are mapped by time in the same way. Where the teacher's grid is coarser, several cells
    fall into one; where it is finer, some of the teacher's cells are never filled.
    """
    frames = _axis(student.frames, teacher.frames)
    rows, cols = _axis(student.rows, teacher.rows), _axis(student.cols, teacher.cols)
    flat = (frames[:, None, None] * teacher.rows + rows[:, None]) * teacher.cols + cols
    return np.ascontiguousarray(flat.reshape(-1))


def num_merged(student: Grid, teacher: Grid) -> int:
    """Cells of `student` that share their cell of `teacher` with an earlier one."""
    return student.num_tokens - len(np.unique(cell_map(student, teacher)))


def translator_bytes(
    student_width: int, teacher_width: int, kind: TranslatorKind = "linear", rank: int = 0
) -> int:
    """Bytes of a translator in float32. Raises PairError above `MAX_TRANSLATOR_BYTES`."""
    both = student_width + teacher_width
    count = rank * both if rank else student_width * teacher_width
    count += teacher_width
    if kind == "mlp":
        count += hidden_width(student_width, teacher_width) * (both + 1) + 2 * student_width
    if 4 * count > MAX_TRANSLATOR_BYTES:
        raise PairError(
            f"a {kind} translator from {student_width} to {teacher_width} channels takes "
            f"{4 * count >> 20} MiB, {MAX_TRANSLATOR_BYTES >> 20} are allowed; "
            "set [translator] rank to a smaller number"
        )
    return 4 * count


def hidden_width(student_width: int, teacher_width: int) -> int:
    """Hidden units of an MLP translator."""
    return min(max(2 * max(student_width, teacher_width), MIN_HIDDEN), MAX_HIDDEN)


def _axis(ours: int, theirs: int) -> NDArray[np.int64]:
    """Index on an axis of `theirs` cells under the centre of each of `ours`; exact in integers."""
    return (2 * np.arange(ours, dtype=np.int64) + 1) * theirs // (2 * ours)
