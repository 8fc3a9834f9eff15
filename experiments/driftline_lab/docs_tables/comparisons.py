"""Tables of the product beside its baselines, from the committed folders of `lab tables`."""

from __future__ import annotations

from functools import partial
from typing import Any

from driftline_lab.docs_tables.page import Page, Renderer, Rows
from driftline_lab.experiments.tables.showing import kilobytes, spread_text


def beside(pair: str) -> Renderer:
    """The renderer of a pair's table."""
    return partial(_beside, pair=pair)


def _beside(page: Page, pair: str) -> Rows:
    """A row a baseline: accuracy on drifted domains, recovered, lost on the source, bytes."""
    rows = page.result(f"tables/{pair}/accuracy/result")["result"]["rows"]
    head = ["", "part replaced", "drifted, %", "recovered, %", "source lost, points", "up, kB"]
    return [[*head, "down, kB"], *map(_cells, rows)]


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        f"`{row['baseline']}`",
        row["kind"],
        spread_text(row["drifted"]),
        spread_text(row["recovered"]),
        spread_text(row["forgetting"]),
        kilobytes(row["bytes_up"]["mean"]),
        kilobytes(row["bytes_down"]["mean"]),
    ]
