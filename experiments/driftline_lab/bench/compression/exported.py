"""Time to the first token of an export behind 576 visual tokens, with compressors and without.

All run the same graphs, side by side in one process: int8, or what is asked for, of the real
SmolLM2-135M behind a tower and projector drawn at random. Beside it, whether the tokens that stay
are those that stay under torch.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from safetensors.numpy import save_file

from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.runtime import Question
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_lab.bench.compression.plan import Cell, cells
from driftline_lab.bench.compression.smollm2_models import PICTURE, PROMPT, QUESTION
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.portable import PORTABLE
from driftline_shared.models.export.pair_export import export_pair
from driftline_shared.pair.pair import Pair, load_pair, token_space_digest
from driftline_shared.program.compressor import CompressorChoice

BASELINE = "uncompressed"

AS_EXPORTED: dict[str, dict[str, Any]] = {"tome": {"where": "projector"}}
"""Options of what an export does where torch, left alone, would do other."""

NEW = 2
"""Tokens answered: the first is timed."""

_SPEC = """name = "timed"
prompt = {prompt}
max_new_tokens = {new}
[student]
quantization = "none"
[token_space]
digest = "{digest}"
grid = {{ rows = 24, cols = 24 }}
[adapter]
rank = 8
alpha = 16.0
"""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    label: str
    runtime: OnnxRuntime
    first_s: list[float] = field(default_factory=list)
    pixels_s: list[float] = field(default_factory=list)


def run_exported(
    *,
    methods: str,
    keep: float,
    precision: str,
    rounds: int,
    same: int,
    seed: int,
    threads: int,
) -> dict[str, Any]:
    """Medians over `rounds` pictures, each asked about by all in an order drawn anew; one more
    warms up. `same`: pictures of which the tokens that stay are compared with torch's, in fp32.
    """
    planned = planned_cells(methods, keep)
    with tempfile.TemporaryDirectory() as folder:
        pair, exported = _written(Path(folder), planned, seed)
        rows = _timed(exported, planned, precision, rounds, seed, threads)
        for cell in planned:
            rows[cell.label]["same_tokens"] = _same(pair, exported, cell, same, seed, threads)
    return {
        "language_model": "SmolLM2-135M-Instruct, weights real; tower and projector random",
        "visual_tokens": 576,
        "keep": keep,
        "precision": precision,
        "rounds": rounds,
        "threads": threads,
        "seed": seed,
        "rows": rows,
    }


def as_text(found: dict[str, Any]) -> str:
    """A table: what stays, seconds, and shares of the uncompressed export's."""
    lines = [f"{'':34}  from tower tokens       from pixels             tokens as torch's"]
    for label, row in found["rows"].items():
        same = row.get("same_tokens")
        lines.append(
            f"{label:34}  {row['first_s'] * 1e3:7.0f} ms {row['first_share']:7.1%}      "
            f"{row['pixels_s'] * 1e3:7.0f} ms {row['pixels_share']:7.1%}      "
            f"{'' if same is None else f'{same[0]} of {same[1]}'}"
        )
    return "\n".join(lines)


def planned_cells(methods: str, keep: float) -> list[Cell]:
    """The rows that are timed, by default all methods for pictures that exports run, as exports run
    them. Raises ConfigError for one that none runs.
    """
    wanted = methods or ",".join(name for name, each in PORTABLE.items() if each.images)
    found = cells(wanted, [keep], videos=False)
    odd = sorted({cell.method for cell in found} - PORTABLE.keys())
    if odd:
        raise ConfigError(
            f"methods: no export runs {', '.join(odd)}, but {', '.join(sorted(PORTABLE))}"
        )
    return [
        Cell(method=cell.method, options=AS_EXPORTED.get(cell.method, {}) | dict(cell.options))
        for cell in found
    ]


def _written(folder: Path, planned: Sequence[Cell], seed: int) -> tuple[Pair, Pair]:
    """A pair around the timed model, and its export, cut where the methods need it."""
    model = PICTURE.load(folder / "pair" / "student", seed)
    tokens = model.encode([PICTURE.picture(np.random.default_rng(seed))]).cpu().numpy()
    width = tokens.shape[-1]
    del model
    (folder / "pair" / "teacher").symlink_to("student")
    space = {
        "low": tokens.min(axis=(0, 1)),
        "high": tokens.max(axis=(0, 1)),
        "mean": tokens.mean(axis=(0, 1)),
        "precision": np.eye(width, dtype=np.float32),
    }
    save_file(space, folder / "pair" / "token_space.safetensors")
    spec = _SPEC.format(
        prompt=_quoted(PROMPT), new=NEW, digest=token_space_digest(folder / "pair" / "student")
    )
    (folder / "pair" / "pair.toml").write_text(spec, encoding="utf-8")
    pair = load_pair(folder / "pair")
    wanted = [_choice(cell) for cell in planned]
    with Console(stderr=True).status("exporting") as status:
        export_pair(pair, folder / "export", compressors=wanted, report=status.update)
    return pair, load_pair(folder / "export")


def _timed(
    exported: Pair, planned: Sequence[Cell], precision: str, rounds: int, seed: int, threads: int
) -> dict[str, dict[str, Any]]:
    entries = [
        _Entry(label=label, runtime=_runtime(exported, precision, threads, choice))
        for label, choice in [(BASELINE, None), *((cell.label, _choice(cell)) for cell in planned)]
    ]
    rng = np.random.default_rng(seed)
    for number in track(range(rounds + 1), "rounds", console=Console(stderr=True)):
        picture = PICTURE.picture(rng)
        for index in rng.permutation(len(entries)):
            entry = entries[index]
            pixels_s, first_s = (_first_s(entry.runtime, picture) for _ in range(2))
            if number:
                entry.pixels_s.append(pixels_s)
                entry.first_s.append(first_s)
    whole = entries[0]
    return {
        entry.label: {
            "first_s": statistics.median(entry.first_s),
            "first_share": _share(entry.first_s, whole.first_s),
            "pixels_s": statistics.median(entry.pixels_s),
            "pixels_share": _share(entry.pixels_s, whole.pixels_s),
        }
        for entry in entries
    }


def _runtime(
    exported: Pair, precision: str, threads: int, choice: CompressorChoice | None
) -> OnnxRuntime:
    # Nothing is gone on from: each prompt is read whole.
    return OnnxRuntime(
        exported,
        precision=precision,
        threads=threads,
        compressor=choice,
        upload_from="survivors",
        prefix_bytes=0,
    )


def _first_s(runtime: OnnxRuntime, picture: NDArray[np.uint8]) -> float:
    """Seconds to the first token; of a picture that was seen, without the tower."""
    times: list[float] = []
    start = time.perf_counter()
    runtime.answer(
        [Question(image=picture, text=QUESTION)],
        on_token=lambda _row, _text: times.append(time.perf_counter()),
    )
    return times[0] - start


def _share(mine: Sequence[float], whole: Sequence[float]) -> float:
    """Median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(mine, whole, strict=True))


def _same(
    pair: Pair, exported: Pair, cell: Cell, num: int, seed: int, threads: int
) -> tuple[int, int]:
    """Of how many pictures the same tokens stay under torch, and how many were asked about."""
    rng = np.random.default_rng(seed + 1)
    asked = [Question(image=PICTURE.picture(rng), text=QUESTION) for _ in range(num)]
    choice = _choice(cell)
    ours = _runtime(exported, "fp32", threads, choice).answer(asked)
    twin = TorchRuntime(pair, threads=threads, compressor=choice, upload_from="survivors")
    pairs = zip(ours, twin.answer(asked), strict=True)
    return sum(np.array_equal(a.tokens.positions, b.tokens.positions) for a, b in pairs), num


def _choice(cell: Cell) -> CompressorChoice:
    return CompressorChoice(name=cell.method, options=cell.options)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
