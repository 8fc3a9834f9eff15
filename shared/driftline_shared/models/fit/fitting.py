"""Fits what a pair needs beside its weights, on calibration images of the source domain.

Writes beside pair.toml, in this order, so that a fit which was cut short is never taken for done:

    source.safetensors, source.jsonl   where questions are given
    probe/                             where there is none yet, from the same questions
    token_space.safetensors            channel ranges for codecs, pooled statistics for `ood`
    pair.toml                          digest and grid, and [translator] where the towers differ
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from driftline_shared.callbacks import Progress
from driftline_shared.errors import DataError, PairError
from driftline_shared.models.fit.calibration_images import CalibrationSet, Row
from driftline_shared.pair.pair import (
    MAX_SOURCE_BYTES,
    Draft,
    Pair,
    load_pair,
    read_source_tokens,
    token_space_digest,
)
from driftline_shared.pair.pair_file import write_fitted
from driftline_shared.pair.spec import TranslatorSpec
from driftline_shared.pair.token_space import channel_ranges, pool, pooled_statistics
from driftline_shared.tokens import Grid

ENCODE_IMAGES = 8
"""Images encoded at a time."""

MOST_FLOAT16 = float(np.finfo(np.float16).max)
"""65,504: towers whose activations pass it are stored in float32."""

NUM_PROBE_ROWS = 16
"""Rows of a self-check set that is made here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """What was fitted. `broken`: images left out, each with its reason."""

    digest: str
    grid: Grid
    width: int
    num_images: int
    num_rows: int = 0
    broken: tuple[str, ...] = ()
    translator_error: float | None = None


def fit_images(
    draft: Draft, images: CalibrationSet, progress: Progress, *, device: str = "cpu"
) -> Fitted:
    """Run the student's tower over `images` and write everything above.

    Raises PairError for a pair whose models cannot be loaded or whose tokens would not fit memory,
    DataError for fewer than two readable images.
    """
    from driftline_shared.models.loading import load_model

    same_tower = _share_tower(draft)
    model = load_model(
        draft.student.dir,
        prompt=draft.student.prompt,
        device=device,
        dtype=draft.student.dtype,
        canvas=draft.canvas,
    )
    tokens: NDArray[np.floating] | None = None
    kept: list[int] = []
    broken: list[str] = []
    for start in range(0, images.num_images, ENCODE_IMAGES):
        end = min(start + ENCODE_IMAGES, images.num_images)
        numbers, block = images.read(range(start, end), draft.canvas, broken)
        if block:
            values = model.encode(block).cpu().numpy()
            if not np.isfinite(values).all():
                raise DataError(
                    "the tower gives tokens that are NaN or infinite",
                    fix='Set dtype = "float32" or "bfloat16" in [student], or take another copy.',
                )
            if tokens is None:
                tokens = _room(images.num_images, values.shape[1:])
            if tokens.dtype == np.float16 and np.abs(values).max() > MOST_FLOAT16:
                tokens = _room(images.num_images, values.shape[1:], tokens[: len(kept)])
            tokens[len(kept) : len(kept) + len(block)] = values
            kept += numbers
        progress(end / images.num_images)
    if tokens is None or len(kept) < 2:
        raise DataError(f"{len(kept)} images can be read; statistics need two at least")
    tokens = tokens[: len(kept)]
    del model
    rows, pictures = images.rows_of(kept), images.pictures(kept, draft.canvas)
    if rows:
        _write_source(draft.dir, tokens, rows)
        _write_probe(draft.dir, pictures, rows)
    grid = _model_grid(draft)
    digest = _write_token_space(draft, tokens, grid)
    error = None if same_tower else _fit_translator(load_pair(draft.file), pictures, device)
    return Fitted(
        digest=digest,
        grid=grid,
        width=tokens.shape[2],
        num_images=len(kept),
        num_rows=len(rows),
        broken=tuple(broken),
        translator_error=error,
    )


def fit_stored(draft: Draft) -> Fitted:
    """The same from the tokens in source.safetensors: no image is read, no model is run.

    Raises PairError where there are none, or where the towers differ (a translator needs images).
    """
    if not _share_tower(draft):
        raise PairError(
            "teacher and student have different towers; a translator is fitted on images: give "
            "--images"
        )
    tokens = read_source_tokens(draft.dir)
    grid = draft.grid or _model_grid(draft)
    if tokens.shape[1] != grid.num_tokens:
        raise PairError(
            f"source.safetensors has {tokens.shape[1]} tokens an image, the grid "
            f"{grid.num_tokens}: fit anew with --images"
        )
    digest = _write_token_space(draft, tokens, grid)
    return Fitted(digest=digest, grid=grid, width=tokens.shape[2], num_images=len(tokens))


def _share_tower(draft: Draft) -> bool:
    return token_space_digest(draft.teacher.dir) == token_space_digest(draft.student.dir)


def _model_grid(draft: Draft) -> Grid:
    from driftline_shared.models.fit.grids import token_grid

    return token_grid(draft.student.dir, draft.canvas)


def _room(
    num_images: int, shape: tuple[int, ...], held: NDArray[np.float16] | None = None
) -> NDArray[np.floating]:
    """(N, V, D) float16, not yet written to, if that many bytes are allowed; float32 with `held` at
    its beginning, where float16 turned out too narrow for the tokens.
    """
    kind = np.dtype(np.float16 if held is None else np.float32)
    num_bytes = kind.itemsize * num_images * int(np.prod(shape))
    if num_bytes > MAX_SOURCE_BYTES:
        most = MAX_SOURCE_BYTES // (kind.itemsize * int(np.prod(shape)))
        raise PairError(
            f"tokens of {num_images} images take {num_bytes >> 20} MiB; give --limit {most} or less"
        )
    room = np.empty((num_images, *shape), dtype=kind)
    if held is not None:
        room[: len(held)] = held
    return room


def _write_token_space(draft: Draft, tokens: NDArray[np.floating], grid: Grid) -> str:
    """Statistics and pair.toml; the digest of the token space."""
    if not np.isfinite(tokens).all():
        raise DataError("the stored tokens hold NaN or infinity: fit anew with --images")
    digest = token_space_digest(draft.student.dir)
    low, high = channel_ranges(tokens)
    # Pooled image by image: float32 copies of all tokens would take twice their memory again.
    pooled = np.concatenate([pool(tokens[i : i + 1]) for i in range(len(tokens))])
    mean, precision = pooled_statistics(pooled)
    arrays = {"low": low, "high": high, "mean": mean, "precision": precision}
    save_file(
        {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()},
        draft.dir / "token_space.safetensors",
    )
    write_fitted(draft.file, digest=digest, grid=grid)
    return digest


def _write_source(folder: Path, tokens: NDArray[np.floating], rows: Sequence[Row]) -> None:
    save_file({"tokens": np.ascontiguousarray(tokens)}, folder / "source.safetensors")
    _write_rows(folder / "source.jsonl", [asdict(row) for row in rows])


def _write_probe(folder: Path, pictures: Sequence[NDArray[np.uint8]], rows: Sequence[Row]) -> None:
    """A self-check set for the device, spread over the rows; one that is there stays."""
    from PIL import Image

    probe = folder / "probe"
    if (probe / "probe.jsonl").exists():
        return
    probe.mkdir(exist_ok=True)
    chosen = rows[:: max(1, len(rows) // NUM_PROBE_ROWS)][:NUM_PROBE_ROWS]
    lines: list[dict[str, Any]] = []
    for row in chosen:
        name = f"{row.image:04d}.png"
        picture = pictures[row.image]
        Image.fromarray(picture if picture.ndim == 3 else picture[0]).save(probe / name)
        lines.append(asdict(row) | {"image": name})
    _write_rows(probe / "probe.jsonl", lines)


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


def _fit_translator(pair: Pair, pictures: Sequence[NDArray[np.uint8]], device: str) -> float | None:
    from driftline_shared.models.fit.translator_fit import fit_pair_translator

    given = pair.spec.translator or TranslatorSpec()
    spec = fit_pair_translator(pair, pictures, kind=given.kind, rank=given.rank, device=device)
    write_fitted(pair.file, translator=spec)
    return spec.relative_error
