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


def trust(page: Page) -> Rows:
    """A cloud with an authority beside one without."""
    found = page.result("trust")["result"]
    plain, certified, ratios = found["plain"], found["certified"], found["ratios"]
    rows = (
        ("connect and ask once, ms", "connect_ms", ".1f"),
        ("of it the cloud's processor, ms", "connect_cpu_ms", ".1f"),
        ("bytes of it", "connect_bytes", ",.0f"),
        ("ask once more, ms", "check_ms", ".2f"),
        ("of it the cloud's processor, ms", "check_cpu_ms", ".2f"),
        ("bytes of it", "check_bytes", ",.0f"),
        ("samples a second, one stream", "samples_per_s", ",.0f"),
    )
    return [
        ["", "without certificates", "with", "with by without"],
        *(
            [name, f"{plain[key]:{form}}", f"{certified[key]:{form}}", _by(ratios.get(key))]
            for name, key, form in rows
        ),
    ]


def _by(ratio: dict[str, float] | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"


def _pushed(row: dict[str, Any]) -> list[str]:
    return [f"{row['waiting']:,}", _rate(row["bare"]), _rate(row["cloud"]), _ratio(row)]


def _rate(server: dict[str, Any]) -> str:
    return f"{server['samples_per_s']:,.0f}"


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
