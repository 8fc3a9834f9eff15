"""Where a demo's own numbers lie among those that are committed with the repository.

experiments/results/loop.json, smol.json    seeds of `driftline lab bench loop`
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from driftline_lab.data.domains import SOURCE
from driftline_lab.data.worlds import world_named
from driftline_lab.demo.options import DemoOptions
from driftline_lab.demo.paces import pace_of
from driftline_lab.demo.report import DemoReport
from driftline_lab.intervals import Summary, summary
from driftline_lab.recovered import row_recovered

RESULTS = Path(__file__).parents[2] / "results"
"""Only a checkout has it."""

FILES = {("tiny", ()): "loop.json", ("smol", ("runtime=onnx",)): "smol.json"}
"""By pair, and settings of the device."""

_FREE = {"pair", "device_settings", "seed", "state", "out"}
"""Options that may differ from run to run."""


def beside_committed(
    report: DemoReport, options: DemoOptions, results: Path = RESULTS
) -> list[str]:
    """One sentence a drifted domain; none where the options are not those of the committed runs,
    or nothing is committed here.
    """
    name = FILES.get((options.pair, options.device_settings))
    if name is None or not is_default(options) or not (file := results / name).is_file():
        return []
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["result"]
    found = []
    for domain, row in report.accuracy.items():
        by_seed = _recovered_by_seed(result, domain)
        if domain != SOURCE and row.recovered is not None and by_seed:
            found.append(_sentence(domain, row.recovered, by_seed, options.seed))
    return found


def is_default(options: DemoOptions) -> bool:
    """Whether all but the seed and the device is as `driftline demo [--pair PAIR]` has it."""
    world, pace = world_named(None, pair=options.pair), pace_of(options.pair)
    usual = DemoOptions(
        pair=options.pair,
        world=world,
        segments=world.segments,
        questions=pace.questions,
        tests=pace.tests,
        pace=pace,
        state=options.state,
    )
    names = [each.name for each in fields(DemoOptions) if each.name not in _FREE]
    return all(getattr(options, name) == getattr(usual, name) for name in names)


def _recovered_by_seed(result: dict[str, Any], domain: str) -> dict[int, float]:
    found = {}
    for document in result["documents"]:
        row = document["accuracy"].get(domain)
        if row is not None and math.isfinite(share := row_recovered(row)):
            found[int(document["seed"])] = share
    return found


def _sentence(domain: str, recovered: float, by_seed: dict[int, float], seed: int) -> str:
    if len(by_seed) == 1:
        ((only, share),) = by_seed.items()
        return (
            f"{domain}: recovered {100 * recovered:.0f} %; seed {only} there: {100 * share:.0f} %"
        )
    found = summary(list(by_seed.values()))
    same = f"; seed {seed} there: {100 * by_seed[seed]:.0f} %" if seed in by_seed else ""
    return (
        f"{domain}: recovered {100 * recovered:.0f} %, {_place(recovered, found)} of "
        f"{len(by_seed)} seeds (worst {100 * found.min:.0f} %{same})"
    )


def _place(recovered: float, found: Summary) -> str:
    interval = f"the 95 % interval, {100 * found.low:.0f} to {100 * found.high:.0f} %,"
    if recovered < found.low:
        return f"below {interval}"
    return f"above {interval}" if recovered > found.high else f"within {interval}"
