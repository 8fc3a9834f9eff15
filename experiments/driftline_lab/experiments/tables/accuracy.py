"""Accuracy by round and domain, the product beside every baseline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from driftline_lab.baselines.table import BASELINES
from driftline_lab.data.domains import SOURCE
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.result import Result
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.showing import HOW, MARKERS, grid, kilobytes, spread_text
from driftline_lab.experiments.tables.statistics import spread
from driftline_lab.experiments.tables.table import Arm, Table, arm, results
from driftline_lab.experiments.tables.tested import sets_of


def arms(scale: Scale) -> list[Arm]:
    """Every baseline of the scale on every seed."""
    return [
        arm(scale, each, group=each.kind.value)
        for each in BASELINES.values()
        if scale.compares(each.name)
    ]


def measure(lab: Lab, scale: Scale) -> dict[str, Any]:
    """A row a baseline, and its rounds."""
    found = results(lab, arms(scale))
    rows = [
        {
            "baseline": each.label,
            "kind": each.group,
            "source": each.baseline.source,
            "rule": each.baseline.rule,
            **summary(runs),
            "rounds": [
                {
                    "seed": run.seed,
                    "round": row.round,
                    "domain": row.domain,
                    "kind": row.kind,
                    "seen": row.seen,
                    "state": row.state,
                    "accuracy": row.accuracy,
                }
                for run in runs
                for row in run.rows
            ],
        }
        for each, runs in found
    ]
    return {"domains": sorted(found[0][1][0].teacher), "rows": rows}


def summary(runs: Sequence[Result]) -> dict[str, Any]:
    """What the seeds of one arm say together."""
    drifted = drifted_domains(runs[0])
    return {
        "before": {n: spread([r.first.accuracy[n] for r in runs]) for n in runs[0].teacher},
        "after": {n: spread([r.last.accuracy[n] for r in runs]) for n in runs[0].teacher},
        "teacher": {n: spread([r.teacher[n] for r in runs]) for n in runs[0].teacher},
        "drifted": spread([mean_accuracy(r, drifted) for r in runs]),
        "recovered": _spread_of([recovered(r) for r in runs]),
        "forgetting": spread(
            [r.first.accuracy[SOURCE] - r.last.accuracy[SOURCE] for r in runs],
            higher_is_better=False,
        ),
        "bytes_up": spread([r.last.bytes_up for r in runs], higher_is_better=False),
        "bytes_down": spread([r.last.bytes_down for r in runs], higher_is_better=False),
        "sent_share": spread([r.last.sent / r.last.seen for r in runs], higher_is_better=False),
        "num_rounds": spread([float(r.last.round) for r in runs]),
    }


def drifted_domains(run: Result) -> list[str]:
    """The test sets of what the stream showed but for the source, in order of name."""
    return _drifted((row.domain for row in run.rows), run.teacher)


def _drifted(met: Iterable[str], tests: Iterable[str]) -> list[str]:
    names = list(tests)
    return sorted({name for domain in set(met) - {SOURCE} for name in sets_of(domain, names)})


def mean_accuracy(run: Result, domains: Sequence[str]) -> float:
    """Over `domains`, at the end."""
    return float(np.mean([run.last.accuracy[name] for name in domains])) if domains else 0.0


def recovered(run: Result) -> float | None:
    """Mean share recovered over the drifted domains on which the teacher is better."""
    shares = [run.recovered(name) for name in drifted_domains(run)]
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None


def _spread_of(values: Sequence[float | None]) -> dict[str, float | int] | None:
    known = [value for value in values if value is not None]
    return spread(known) if known else None


def text(result: dict[str, Any]) -> list[str]:
    """Final accuracies of all, then the first seed's rounds of the product."""
    domains = result["domains"]
    head = ["", "kind", *(f"{name}, %" for name in domains), "recovered, %", "up, kB", "down, kB"]
    first = result["rows"][0]
    rows = [
        [
            row["baseline"],
            row["kind"],
            *(spread_text(row["after"][name]) for name in domains),
            spread_text(row["recovered"]),
            kilobytes(row["bytes_up"]["mean"]),
            kilobytes(row["bytes_down"]["mean"]),
        ]
        for row in result["rows"]
    ]
    above = ["teacher", "", *(spread_text(first["teacher"][n]) for n in domains), "", "", ""]
    lines = [HOW, "", *grid(head, [above, *rows]), "", "## By round", ""]
    seed = first["rounds"][0]["seed"]
    head = ["baseline", "after", "domain", "round", "state", *(f"{name}, %" for name in domains)]
    rounds = [
        [
            row["baseline"],
            f"{each['seen']} ({each['kind']})",
            each["domain"],
            str(each["round"]),
            each["state"],
            *(f"{100 * each['accuracy'][name]:.1f}" for name in domains),
        ]
        for row in result["rows"]
        for each in row["rounds"]
        if each["seed"] == seed
    ]
    lines += [f"Seed {seed}.", "", *grid(head, rounds)]
    lines += ["", "## Sources", ""]
    lines += [f"* `{row['baseline']}`: {row['rule']} ({row['source']})" for row in result["rows"]]
    return lines


def draw(result: dict[str, Any], figure: Any) -> None:
    """Mean accuracy on drifted domains along the first seed's stream."""
    axes = figure.add_subplot()
    for number, row in enumerate(result["rows"]):
        seed = row["rounds"][0]["seed"]
        mine = [each for each in row["rounds"] if each["seed"] == seed]
        drifted = _drifted((each["domain"] for each in mine), result["domains"])
        axes.plot(
            [each["seen"] for each in mine],
            [100 * float(np.mean([each["accuracy"][n] for n in drifted])) for each in mine],
            marker=MARKERS[number % len(MARKERS)],
            linewidth=2.5 if number == 0 else 1,
            label=row["baseline"],
        )
    axes.set_xlabel("questions seen")
    axes.set_ylabel("mean accuracy on drifted domains, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)


ACCURACY = Table(
    name="accuracy",
    title="Accuracy by round and domain",
    arms=arms,
    measure=measure,
    text=text,
    draw=draw,
)
