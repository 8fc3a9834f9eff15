"""Time to the first token behind 576 visual tokens, and what of it compressors take themselves.

    saved     time of the uncompressed model less that of the method, tower tokens to first token
    overhead  hooks + rows of attention + what the method makes the tower's side read beyond tokens

Tower and projector are left out of the last; a method that runs the tower block by block changes
the tower's own time, which shows in the time from pixels only.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from driftline_lab.bench.compression.answering import Reading, read
from driftline_lab.bench.compression.control import DRIVER, do_nothing
from driftline_lab.bench.compression.plan import Cell, cells, suitable
from driftline_lab.bench.compression.rows import BASELINE, markdown
from driftline_lab.bench.compression.smollm2_models import CLIP, PICTURE, QUESTION, Layout
from driftline_lab.bench.compression.stopwatch import Stopwatch, watched, watched_parts
from driftline_lab.bench.compression.subjects import Asked
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.compression import flops
from driftline_shared.models.compression.compressed_model import CompressedModel, facts_of
from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.table import METHODS, configured
from driftline_shared.models.families.base import FamilyModel

NEW = 5
"""Tokens answered; the ones after the first are timed apart."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    label: str
    model: FamilyModel | CompressedModel
    keep: float | None = 1.0
    turns: list[tuple[Reading, Stopwatch]] = field(default_factory=list)


def run_speed(
    *,
    methods: str,
    keep: float,
    rounds: int,
    seed: int,
    threads: int,
    layouts: Sequence[Layout] = (PICTURE, CLIP),
) -> dict[str, Any]:
    """Each layout's methods, `rounds` turns each in an order drawn anew per round; one warms up."""
    torch.set_num_threads(threads)
    done = []
    for layout in layouts:
        planned = _planned(layout, methods, keep)
        if not planned:
            continue
        with tempfile.TemporaryDirectory() as folder:
            model = layout.load(Path(folder), seed)
            done.append(_measure(layout, model, planned, rounds, seed))
    if not done:
        raise ConfigError(f"methods: {methods!r} holds none that needs no training")
    return {
        "language_model": "SmolLM2-135M-Instruct, weights real; tower and projector random",
        "layouts": done,
        "rounds": rounds,
        "seed": seed,
        "threads": threads,
    }


def _planned(layout: Layout, methods: str, keep: float) -> list[Cell]:
    """Methods that read such pictures. Weights that would have to be trained there are none."""
    videos = layout.reads_clips
    fitting = [name for name in suitable(videos) if not METHODS[name].trained]
    return [cell for cell in cells(methods, [keep], videos=videos) if cell.method in fitting]


def _measure(
    layout: Layout, model: FamilyModel, planned: Sequence[Cell], rounds: int, seed: int
) -> dict[str, Any]:
    facts, watch = facts_of(model), Stopwatch()
    entries = [_Entry(label=BASELINE, model=model)]
    entries.append(_Entry(label=DRIVER, model=watched(do_nothing(model), watch)))
    skipped: dict[str, str] = {}
    rng = np.random.default_rng(seed)
    for cell in planned:
        compression = configured(cell.method, cell.options, facts)
        entry = _Entry(
            label=cell.label,
            model=watched(CompressedModel(model, compression), watch),
            keep=cell.keep,
        )
        try:
            # The first turn warms up, and shows whether the method can read this tower.
            _turn(entry, layout, watch, rng)
        except (ConfigError, PairError) as error:
            skipped[cell.label] = str(error)
            continue
        entry.turns.clear()
        entries.append(entry)
    with watched_parts(model, watch):
        for entry in entries[:2]:
            _turn(entry, layout, watch, rng)
            entry.turns.clear()
        for _ in track(range(rounds), layout.name, console=Console(stderr=True)):
            for index in rng.permutation(len(entries)):
                _turn(entries[index], layout, watch, rng)
    rows = [_row(facts, entry, entries[0]) for entry in entries]
    return {"layout": layout.name, "rows": rows, "skipped": skipped}


def _turn(entry: _Entry, layout: Layout, watch: Stopwatch, rng: np.random.Generator) -> None:
    asked = Asked(image=layout.picture(rng), question=QUESTION, answer="")
    watch.taken()
    reading = read(entry.model, asked, NEW)
    entry.turns.append((reading, watch.taken()))


def _row(facts: ModelFacts, entry: _Entry, baseline: _Entry) -> dict[str, Any]:
    """Medians over rounds; what is compared is compared within a round."""
    first, pixels, saved, overhead = [], [], [], []
    whole_first, whole_pixels = [], []
    for (mine, watch), (theirs, their_watch) in zip(entry.turns, baseline.turns, strict=True):
        assert theirs.encode_s is not None, "the uncompressed model encodes by itself"
        first.append(mine.first_s(theirs.encode_s))
        whole_first.append(theirs.first_s(theirs.encode_s))
        pixels.append(mine.ready_s + mine.read_s)
        whole_pixels.append(theirs.ready_s + theirs.read_s)
        saved.append(whole_first[-1] - first[-1])
        overhead.append(_overhead(mine, watch, theirs, their_watch))
    steps = [mine.token_s for mine, _ in entry.turns if mine.token_s is not None]
    reading, plain = entry.turns[0][0], baseline.turns[0][0]
    layers = reading.layers or flops.whole(facts, reading.places)
    full = flops.prefill_flops(facts, flops.whole(facts, plain.places))
    # A newline may go with the tokens that it parts.
    num_first, num_last = (
        max(0, layers[at].keys - (plain.places - plain.visual)) for at in (0, -1)
    )
    saved_s, overhead_s = statistics.median(saved), statistics.median(overhead)
    return {
        "label": entry.label,
        "keep": entry.keep,
        "visual_first_layer": num_first,
        "visual_last_layer": num_last,
        "prefill_share": flops.prefill_flops(facts, layers) / full,
        "first_ms": 1e3 * statistics.median(first),
        "first_ratio": _ratio(first, whole_first),
        "pixels_ms": 1e3 * statistics.median(pixels),
        "pixels_ratio": _ratio(pixels, whole_pixels),
        "token_ms": 1e3 * statistics.median(steps) if steps else None,
        "saved_ms": 1e3 * saved_s,
        "overhead_ms": 1e3 * overhead_s,
        "overhead_of_saved": overhead_s / saved_s if saved_s > 0 else None,
    }


def _overhead(mine: Reading, watch: Stopwatch, theirs: Reading, their_watch: Stopwatch) -> float:
    """Seconds, by what was timed of this turn and of the uncompressed model's in the same round."""
    own = watch.reading + watch.rows
    if mine.encode_s is not None or not watch.tower:
        return watch.looking + own
    # What lies beside tower and projector: preparation and the row, which both have; hooks before
    # the projector; and attention or keys of the tower, which are nobody's hook.
    beside = mine.ready_s - watch.tower - watch.projector
    return own + beside - (theirs.ready_s - their_watch.tower - their_watch.projector)


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(one / two for one, two in zip(ours, theirs, strict=True))


_COLUMNS: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("method", lambda row: row["label"]),
    ("first layer", lambda row: f"{row['visual_first_layer']:g}"),
    ("last layer", lambda row: f"{row['visual_last_layer']:g}"),
    ("prefill FLOPs", lambda row: f"{100 * row['prefill_share']:.1f} %"),
    ("first token", lambda row: _ms(row["first_ms"])),
    ("ratio", lambda row: f"{row['first_ratio']:.3f}"),
    ("from pixels", lambda row: _ms(row["pixels_ms"])),
    ("ratio", lambda row: f"{row['pixels_ratio']:.3f}"),
    ("per token", lambda row: _ms(row["token_ms"])),
    ("saved", lambda row: _ms(row["saved_ms"])),
    ("overhead", lambda row: _ms(row["overhead_ms"])),
    ("of saved", lambda row: _percent(row["overhead_of_saved"])),
)


def as_text(layout: Mapping[str, Any]) -> str:
    """A Markdown table under the layout's name; what was skipped, and why, below it."""
    table = markdown(_COLUMNS, layout["rows"])
    notes = [f"no row for {label}: {why}" for label, why in layout["skipped"].items()]
    return "\n".join([layout["layout"], "", table, "", *notes])


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
