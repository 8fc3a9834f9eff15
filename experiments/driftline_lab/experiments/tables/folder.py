"""A table on disk: one folder, whose result counts as long as its configuration is the same.

<out>/<name>/config.json    what it is made of, and the digest of that
             result.json    rows; the digest of the configuration they belong to; machine time
             table.md       the rows as text
             plot.png
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from driftline_lab.experiments.lab import REVISION, Lab, described, digest_of
from driftline_lab.experiments.result import dumped
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.showing import duration
from driftline_lab.experiments.tables.table import Table, runs
from driftline_shared.host.durable import write_atomic


@dataclass(frozen=True, kw_only=True, slots=True)
class Took:
    """Machine time of a table: of its runs, or, where it has none, of what it measures itself."""

    seconds: float
    num_runs: int = 0

    @classmethod
    def of_runs(cls, table: Table, lab: Lab, scale: Scale) -> Took | None:
        """Each run once; None where the table has none."""
        found = {lab.key(plan, arm.baseline): (plan, arm) for arm, plan in runs(table, scale)}
        parts = [lab.run(plan, arm.baseline).seconds for plan, arm in found.values()]
        if not parts:
            return None
        return cls(seconds=sum(part.get("all", 0.0) for part in parts), num_runs=len(parts))

    def text(self) -> str:
        """As a sentence."""
        if not self.num_runs:
            return f"Machine time: {duration(self.seconds)}."
        each = "run" if self.num_runs == 1 else "runs"
        shared = "those that other tables share among them"
        return f"Machine time: {duration(self.seconds)} in {self.num_runs} {each}, {shared}."


def is_there(table: Table, lab: Lab, scale: Scale, out: Path) -> bool:
    """Whether the folder holds the result of this very configuration."""
    digest = digest_of(configuration(table, lab, scale))
    return _kept(out / table.name / "result.json", digest) is not None


def write_table(table: Table, lab: Lab, scale: Scale, out: Path) -> bool:
    """Write the folder of `table`; whether its result had to be made."""
    folder = out / table.name
    config = configuration(table, lab, scale)
    digest = digest_of(config)
    found = _kept(folder / "result.json", digest)
    made = found is None
    if found is None:
        started = time.perf_counter()
        result = table.measure(lab, scale)
        took = Took.of_runs(table, lab, scale) or Took(seconds=time.perf_counter() - started)
    else:
        result, took = found
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "config.json", {"digest": digest, **config})
    _write(folder / "result.json", {"config": digest, "took": asdict(took), "result": result})
    lines = [f"# {table.title}", "", *table.text(result)]
    if absent := left_out(table, scale):
        lines += ["", f"Left out with `--baselines`: {', '.join(absent)}."]
    lines += ["", took.text()]
    if scale.quick:
        lines += ["", "Made with `--quick`: it shows that the table works, and no more."]
    write_atomic(folder / "table.md", ("\n".join(lines) + "\n").encode(), durable=False)
    _draw(table, result, folder / "plot.png")
    return made


def left_out(table: Table, scale: Scale) -> list[str]:
    """Labels of the arms that the scale's choice of baselines leaves out."""
    there = {each.label for each in table.arms(scale)}
    every = table.arms(replace(scale, baselines=()))
    return [each.label for each in every if each.label not in there]


def configuration(table: Table, lab: Lab, scale: Scale) -> dict[str, Any]:
    """Everything the rows depend on, in plain values."""
    return {
        "table": table.name,
        "revision": REVISION,
        "quick": scale.quick,
        "left_out": left_out(table, scale),
        "pair": lab.pair_digests(scale.plan.pair),
        "arms": [
            {
                "label": each.label,
                "group": each.group,
                "runs": [described(plan, each.baseline) for plan in each.plans],
            }
            for each in table.arms(scale)
        ],
    }


def _kept(path: Path, digest: str) -> tuple[dict[str, Any], Took] | None:
    try:
        document = json.loads(path.read_bytes())
        if document["config"] == digest and isinstance(document["result"], dict):
            return dict(document["result"]), Took(**document["took"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _write(path: Path, values: dict[str, Any]) -> None:
    write_atomic(path, dumped(values), durable=False)


def _draw(table: Table, result: dict[str, Any], path: Path) -> None:
    # The object interface: pyplot would keep figures and a backend of its own.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5))
    table.draw(result, figure)
    # Without a date of its own, so that equal tables are equal files.
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
