"""The table of a trace's columns, from the columns themselves."""

from __future__ import annotations

from driftline_lab.docs_tables.page import Page, Rows
from driftline_shared.trace.columns import COLUMNS

_PARQUET = {
    "int": "int64",
    "float": "double",
    "bool": "bool",
    "text": "string",
    "bytes": "binary",
    "ints": "list of int32",
    "scores": "list of struct",
}


def columns(_page: Page) -> Rows:
    """Every column, its type in Parquet, and its meaning."""
    return [
        ["column", "type", "meaning"],
        *([f"`{name}`", _PARQUET[kind], meaning] for name, kind, meaning, _ in COLUMNS),
    ]


def measured(page: Page) -> Rows:
    """What kills left, what flipped bits were refused by, and what recording costs."""
    found = page.result("trace")["result"]
    kills, flips, answers = found["kills"], found["flips"], found["answers"]
    named = ", ".join(f"{num} by {what}" for what, num in sorted(flips["named_by"].items()))
    rows = [
        ["measured", "found"],
        [
            f"{kills['num_killed']} recorders killed (SIGKILL) at random moments, "
            f"{kills['num_events']} events",
            f"{kills['num_lost']} written events lost, {kills['num_doubled']} doubled",
        ],
        [
            f"{flips['num_flipped']} bits flipped, one at a time",
            f"{flips['num_refused']} refused by the part's name: {named}",
        ],
    ]
    for one in found["recording"]:
        rows.append(
            [
                f"events with {one['token_bytes']} bytes of tokens",
                f"{one['events_per_s']:.0f} written a second, {one['cpu_us_per_event']:.0f} "
                f"microseconds of the processor each; {one['bytes_per_event']:.0f} bytes in a part",
            ]
        )
    rows.append(
        [
            f"an answer of `{answers['pair']}` without and with a recorder, in turns",
            f"{answers['cpu_ms']['without']:.1f} and {answers['cpu_ms']['with']:.1f} ms of the "
            f"processor; it took (median) {answers['median_ms']['without']:.0f} and "
            f"{answers['median_ms']['with']:.0f} ms on a machine under load "
            f"{found['load_before']:.0f}",
        ]
    )
    return [*rows, ["from", page.link("trace")]]
