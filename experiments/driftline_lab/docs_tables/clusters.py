"""Labelling on Ray."""

from __future__ import annotations

from typing import Any

from driftline_lab.docs_tables.page import Page, Rows


def labellers(page: Page) -> Rows:
    """Labels a second by the number of labellers, of the sleeping teacher and of the real one."""
    found = page.result("ray_labelling")["result"]
    slept, real = found["simulated"]["rows"], found["real"]["rows"]
    return [
        ["teacher", "labellers", "labels a second", "efficiency", "overhead, ms a sample"],
        *(_row("sleeps 20 ms a sample", each, each["efficiency"], each) for each in slept),
        *(
            _row("that of `tiny`", each, real[0]["seconds"] / each["labellers"] / each["seconds"])
            for each in real
        ),
    ]


def _row(
    teacher: str, each: dict[str, Any], efficiency: float, overhead: dict[str, Any] | None = None
) -> list[str]:
    ms = "-" if overhead is None else f"{overhead['overhead_ms_per_sample']:.2f}"
    rate = f"{each['labels_per_s']:.1f}"
    return [teacher, str(each["labellers"]), rate, f"{100 * efficiency:.0f} %", ms]
