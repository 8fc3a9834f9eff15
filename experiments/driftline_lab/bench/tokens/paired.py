"""The first scorer beside the others, paired over seeds: what rounds on its tokens recover more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from driftline_lab.intervals import paired, summary

RECOVERED = "recovered_all"
"""The share recovered on questions of all kinds."""


def compare(domains: Sequence[Mapping[str, Any]], ours: str) -> list[dict[str, Any]]:
    """By domain, share and other scorer, over the seeds in which both had a round.

    `ours`, `theirs`: mean shares recovered; `worst`: of `ours`; `difference`, `low`, `high`, `p`:
    see `intervals.paired`. `domains`: what `run_tokens` gives.
    """
    names = dict.fromkeys(each["domain"] for each in domains)
    rows = []
    for name in names:
        arms = _arms([each for each in domains if each["domain"] == name])
        for (scorer, share), theirs in arms.items():
            own = arms.get((ours, share), {})
            if scorer == ours or not (seeds := sorted(own.keys() & theirs.keys())):
                continue
            mine = summary([own[seed] for seed in seeds])
            found = paired([own[seed] for seed in seeds], [theirs[seed] for seed in seeds])
            rows.append(
                {
                    "domain": name,
                    "share": share,
                    "scorer": scorer,
                    "seeds": seeds,
                    "ours": mine.mean,
                    "worst": mine.min,
                    "theirs": summary([theirs[seed] for seed in seeds]).mean,
                    "difference": found.difference.mean,
                    "low": found.difference.low if len(seeds) > 1 else None,
                    "high": found.difference.high if len(seeds) > 1 else None,
                    "p": found.p,
                }
            )
    return rows


def _arms(domains: Sequence[Mapping[str, Any]]) -> dict[tuple[str, float], dict[int, float]]:
    """By scorer and share: what each seed's round recovered."""
    arms: dict[tuple[str, float], dict[int, float]] = {}
    for each in domains:
        for row in each["rows"]:
            if RECOVERED in row:
                at = (row["scorer"], float(row["share"]))
                arms.setdefault(at, {})[each["seed"]] = row[RECOVERED]
    return arms
