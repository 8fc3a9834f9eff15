"""What tokens tell of a picture."""

from __future__ import annotations

from typing import Any

from driftline_lab.docs_tables.page import Page, Rows


def told(page: Page) -> Rows:
    """By codec, share and noise: PSNR and attributes of source and drift, the teacher's answers."""
    found = page.result("privacy")["result"]
    drift = found["drift"]
    head = ["tokens", "share", "noise", "bytes", "PSNR, source", f"PSNR, {drift}"]
    return [
        [*head, "shape read", "colour read", f"teacher right, {drift}"],
        *(_told(row, drift) for row in found["rows"]),
    ]


def _told(row: dict[str, Any], drift: str) -> list[str]:
    source, drifted = row["source"], row[drift]
    seen = "sample_bytes" in row
    return [
        row["codec"],
        f"{100 * row['share']:.0f} %" if seen else "",
        f"{row['noise']:g}" if row["noise"] else "",
        f"{row['sample_bytes']:,.0f}" if seen else "",
        f"{source['psnr']:.1f} dB",
        f"{drifted['psnr']:.1f} dB",
        f"{100 * source['shape']:.0f} %",
        f"{100 * source['color']:.0f} %",
        f"{100 * drifted['teacher']:.0f} %" if seen else "",
    ]
