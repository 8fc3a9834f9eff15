"""The gate's operating curve."""

from __future__ import annotations

from typing import Any

from driftline_lab.docs_tables.page import Page, Rows


def curve(page: Page) -> Rows:
    """True gain, candidates, and how many of them are released."""
    found = page.result("gate")["result"]
    summary = found["summary"]
    return [
        ["candidates by what they truly are", "number", "released"],
        *([_between(each), str(each["num"]), _share(each)] for each in found["bins"]),
        _told("**gain of 3 points and more, source within 1 point**", summary["gain"]),
        _told("**loss of 1 point and more**", summary["loss"]),
        _told("source 1 point and more below version 0, whatever the gain", summary["source_loss"]),
    ]


def _between(each: dict[str, Any]) -> str:
    low, high = 100 * each["from"], 100 * each["to"]
    if low <= -100:
        return f"loss above {-high:g} points"
    if high >= 100:
        return f"gain of {low:g} points and more"
    return f"gain of {low:g} to {high:g} points"


def _told(what: str, each: dict[str, Any]) -> list[str]:
    return [what, str(each["num"]), f"**{_share(each)}**"]


def _share(each: dict[str, Any]) -> str:
    return f"{100 * each['released']:.0f} %" if each["num"] else "-"
