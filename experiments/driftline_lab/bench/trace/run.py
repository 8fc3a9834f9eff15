"""`driftline lab bench trace`: kills, flipped bits, and what recording costs."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from driftline_lab.bench.trace.damage import flip_bits
from driftline_lab.bench.trace.kills import kill_recorders
from driftline_lab.bench.trace.speed import answers_side_by_side, recording


def run_trace(
    *, num_kills: int, num_flips: int, num_events: int, pair: str, num_blocks: int, seed: int
) -> dict[str, Any]:
    """Every measurement in a folder of its own that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="driftline-trace-") as name:
        root, load = Path(name), os.getloadavg()[0]
        kills = kill_recorders(root / "killed", num_kills, seed)
        return {
            "seed": seed,
            "load_before": round(load, 1),
            "kills": {
                "num_killed": len(kills),
                "num_lost": 0,
                "num_doubled": 0,
                "num_left_a_journal": sum(kill.had_journal for kill in kills),
                "num_more_than_acknowledged": sum(
                    kill.recovered > kill.acknowledged for kill in kills
                ),
                "num_events": kills[-1].recovered + 1 if kills else 0,
                "each": [asdict(kill) for kill in kills],
            },
            "flips": flip_bits(root / "killed", num_flips, seed) if kills else {},
            "recording": [
                recording(root / f"speed-{token_bytes}", num_events, token_bytes)
                for token_bytes in (0, 4_096, 65_536)
            ],
            "answers": answers_side_by_side(root / "answers", pair, num_blocks),
        }
