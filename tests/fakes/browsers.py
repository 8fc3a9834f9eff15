"""What a browser has to say about a page of ours."""

from __future__ import annotations

from typing import Any

from driftline_lab.report.browser import Browser


def complaints(browser: Browser) -> list[Any]:
    """What the console shows as an error, and what a script raised."""
    return [
        event
        for event in browser.events
        if event.get("method") == "Runtime.exceptionThrown"
        or event.get("params", {}).get("entry", {}).get("level") in ("error", "warning")
        or event.get("params", {}).get("type") in ("error", "warning")
    ]
