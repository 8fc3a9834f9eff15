"""A cloud's intake: beside a bare server, with a fleet, and asked how it is."""

from __future__ import annotations

from typing import Any

from driftline_lab.docs_tables.page import Page, Rows


def pushed(page: Page) -> Rows:
    """Samples a second of a bare server and of a cloud, by what waits."""
    rows = page.result("intake")["result"]["rows"]
    return [
        ["samples that wait", "bare server, samples/s", "cloud, samples/s", "cloud of bare"],
        *map(_pushed, rows),
    ]


def fleet(page: Page) -> Rows:
    """Many devices on one cloud."""
    found = page.result("fleet")["result"]
    head = ["devices", "Checks/s", "errors", "Check p50, ms", "Check p99, ms", "memory in a minute"]
    minute = 60.0 / found["steady_s"]
    return [
        head,
        [
            f"{found['devices']:,}",
            f"{found['checks_per_s']:.0f}",
            str(found["errors"]),
            f"{found['check_ms_p50']:.1f}",
            f"{found['check_ms_p99']:.0f}",
            f"{100 * minute * found['drift']:+.1f} %",
        ],
    ]


def _pushed(row: dict[str, Any]) -> list[str]:
    return [f"{row['waiting']:,}", _rate(row["bare"]), _rate(row["cloud"]), _ratio(row)]


def _rate(server: dict[str, Any]) -> str:
    return f"{server['samples_per_s']:,.0f}"


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
