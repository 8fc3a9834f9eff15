"""The table of drift that no model was trained for: ImageNet-C's families on the pair `tiny`."""

from __future__ import annotations

import statistics
from typing import Any

from driftline_lab.docs_tables.page import Page, Rows

_ROLES = ("student", "teacher")


def corruptions(page: Page) -> Rows:
    """Student, teacher and gap of every family at every severity."""
    result = page.result("corruptions")["result"]
    severities = sorted({row["severity"] for row in result["rows"] if row["severity"]})
    rows = {(row["family"], row["severity"]): row for row in result["rows"] if row["family"]}
    families = list(dict.fromkeys(family for family, _ in rows))
    head = [f"{name}, severity {s}" for s in severities for name in ("student", "teacher", "gap")]
    body = [
        [
            f"`{family}`" + (" (development)" if family in result["development"] else ""),
            *(cell for s in severities for cell in _cells(rows[family, s])),
        ]
        for family in families
    ]
    return [["family", *head], *body]


def summary(page: Page) -> Rows:
    """All families together, by severity: means, and where a student has much to learn."""
    result = page.result("corruptions")["result"]
    body = []
    for severity, count in result["by_severity"].items():
        rows = [row for row in result["rows"] if row["severity"] == int(severity)]
        student, teacher = (statistics.mean(row[r]["share"] for row in rows) for r in _ROLES)
        body.append(
            [
                f"{count['families']} families, severity {severity} of 5",
                f"{100 * student:.1f}",
                f"{100 * teacher:.1f}",
                f"{count['wide']} of {count['families']}",
                f"{count['no_room']}",
            ]
        )
    head = ["student, %", "teacher, %", "teacher ahead by 10 points", "student above 90 % already"]
    return [["drift that no model was trained for", *head], *body]


def known(page: Page) -> Rows:
    """The same of the domains that the teacher was trained on."""
    rows = [r for r in page.result("corruptions")["result"]["rows"] if not r["family"]]
    return [
        ["domain", "student", "teacher", "gap"],
        *([row["domain"], *_cells(row)] for row in rows),
    ]


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        *(_percent(row[role]) for role in _ROLES),
        f"{100 * row['gap']['share']:+.1f} ± {100 * row['gap']['error']:.1f}",
    ]


def _percent(found: dict[str, float]) -> str:
    return f"{100 * found['share']:.1f} ± {100 * found['error']:.1f}"
