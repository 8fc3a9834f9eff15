"""Hostile devices in a fleet: what a round learns from them, and what becomes of it."""

from __future__ import annotations

from typing import Any

from driftline_lab.docs_tables.page import Page, Rows

_MARKS = {
    "drift": min,
    "source": min,
    "victim": min,
    "flipped": max,
    "triggered": max,
    "source_victim": min,
}
"""Of each mark, which seed is the worst."""


def poison(page: Page) -> Rows:
    """By attack, hostile share and what is held against it: mean and worst of the seeds."""
    found = page.result("poison")["result"]
    groups: dict[tuple[str, float, str], list[dict[str, Any]]] = {}
    for row in found["rows"]:
        groups.setdefault((row["attack"], row["level"], row["arm"]), []).append(row)
    before = [row["before"] for row in found["rows"]]
    head = ["attack", "hostile", "held against it", "hostile among what is learnt from", "released"]
    return [
        [
            *head,
            "drift",
            "source",
            "victim class",
            "victim said to be the other",
            "trigger works",
            "victim class, source",
        ],
        [
            "before the round",
            "",
            "",
            "",
            "",
            *(_with_worst(mark, before) for mark in _MARKS),
        ],
        *(
            _row(*key, rows)
            for key, rows in sorted(groups.items(), key=lambda one: _order(*one[0]))
        ),
    ]


def _order(attack: str, level: float, arm: str) -> tuple[bool, str, float, bool]:
    return attack != "none", attack, level, arm != "nothing"


def _row(attack: str, level: float, arm: str, rows: list[dict[str, Any]]) -> list[str]:
    released = sum(row["step"] > 0 for row in rows)
    return [
        attack,
        f"{100 * level:.0f} %" if level else "",
        {"both": "shares and screen"}.get(arm, arm),
        _percent([row["hostile_share"] for row in rows]),
        f"{released} of {len(rows)}",
        *(_with_worst(mark, [row["after"] for row in rows]) for mark in _MARKS),
    ]


def _with_worst(mark: str, found: list[dict[str, float]]) -> str:
    values = [one[mark] for one in found]
    worst = _MARKS[mark](values)
    return f"{100 * sum(values) / len(values):.0f} / {100 * worst:.0f} %"


def _percent(values: list[float]) -> str:
    return f"{100 * sum(values) / len(values):.0f} %" if values else ""
