"""Adapters a group beside one for all."""

from __future__ import annotations

from typing import Any

from driftline_lab.docs_tables.page import Page, Rows


def gains(page: Page) -> Rows:
    """Accuracy by drift: before, of the shared adapter, of the groups' own; and what split."""
    found = page.result("groups")["result"]
    rows, summary = found["rows"], found["summary"]
    names = [name for name in rows[0]["accuracy"] if name != "source"]
    split = f"{summary['num_split']} of {summary['num_seeds']}"
    alone = f"{sum(one['num_groups'] > 1 for one in found['one'])} of {len(found['one'])}"
    shared = _mean([row["bytes_shared"] for row in rows])
    grouped = _mean([_mean(row["bytes_grouped"]) for row in rows])
    return [
        ["", "before", "shared", "grouped", "gain, 95 % interval"],
        *([name, *_accuracies(rows, name), _gain(summary[name])] for name in names),
        ["**mean of the drifts**", "", "", "", f"**{_gain(summary['mean'])}**"],
        ["source", *_accuracies(rows, "source"), ""],
        ["bytes of an update", "", f"{shared:,.0f}", f"{grouped:,.0f}", ""],
        ["lines of two drifts that split", split, "", "", ""],
        ["lines of one drift that split", alone, "", "", ""],
    ]


def _accuracies(rows: list[dict[str, Any]], name: str) -> list[str]:
    arms = ("before", "shared", "grouped")
    return [f"{100 * _mean([row['accuracy'][name][arm] for row in rows]):.1f} %" for arm in arms]


def _gain(each: dict[str, Any]) -> str:
    between = (
        "" if each["low"] is None else f" ({100 * each['low']:.1f} to {100 * each['high']:.1f})"
    )
    return f"{100 * each['gain']:+.1f}{between}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
