"""What asking the teacher is worth: never, when uncertain, always."""

from __future__ import annotations

from typing import Any

from driftline_lab.docs_tables.page import Page, Rows

_HEAD = [
    "",
    "asked about",
    "right: the device",
    "with what came in time",
    "with what came at all",
    "bytes up, down a question",
    "seconds to a correction: median, 95 %",
    "of the asked: device right, teacher right",
]


def arms(page: Page) -> Rows:
    """A row for each arm and domain; means over the seeds."""
    found = page.result("escalate")["result"]
    return [_HEAD, *(_row(each) for each in found["summary"])]


def _row(each: dict[str, Any]) -> list[str]:
    asked = each["asked_device_right"] is not None
    return [
        f"`{each['domain']}`, {each['arm']}",
        _percent(each["share"]),
        _percent(each["accuracy_device"]),
        _percent(each["accuracy_in_time"]),
        _percent(each["accuracy_late"]),
        f"{each['bytes_up']:,.0f}, {each['bytes_down']:,.0f}",
        f"{each['seconds_median']:.2f}, {each['seconds_p95']:.2f}" if asked else "",
        f"{_percent(each['asked_device_right'])}, {_percent(each['asked_teacher_right'])}"
        if asked
        else "",
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
