"""Tables of replays: links and modelled times from themselves, speed from its results file."""

from __future__ import annotations

from driftline_lab.docs_tables.page import Page, Rows
from driftline_lab.replay.links import PROFILES
from driftline_lab.replay.settings import ComputeTimes
from driftline_shared.program.section import entries

_RUNS = {
    "first": "first",
    "again": "again",
    "two_processes": "again, the cloud in a process of its own",
}


def links(_page: Page) -> Rows:
    """Every link profile."""
    rows = [["link", "up, Mbit/s", "down, Mbit/s", "round trip, ms", "loss, %", "outages"]]
    for each in PROFILES.values():
        outages = "none"
        if each.outages is not None:
            shape = each.outages
            outages = f"one each {shape.every_s:g} s, {shape.least_s:g} to {shape.most_s:g} s"
        rates = [f"{bits / 1e6:g}" if bits else "no limit" for bits in
                 (each.up_bits_s, each.down_bits_s)]  # fmt: skip
        rows.append(
            [f"`{each.name}`", *rates, f"{each.round_trip_s * 1e3:g}", f"{each.loss:.1%}", outages]
        )
    return rows


def times(_page: Page) -> Rows:
    """Every modelled time."""
    defaults = ComputeTimes()
    return [
        ["key", "s", "of"],
        *(
            [f"`{key}`", f"{getattr(defaults, key):g}", meaning]
            for key, meaning, _ in entries(ComputeTimes)
        ),
    ]


def speed(page: Page) -> Rows:
    """What `bench replay` measured."""
    result = page.result("replay")["result"]
    rows = [["replay", "wall, s", "CPU, s", "x real time", "resident memory, MB", "change, %"]]
    for name, run in result["runs"].items():
        rows.append(
            [
                _RUNS[name],
                f"{run['wall_s']:.0f}",
                f"{run['cpu_s']:.0f}",
                f"{run['times_real']:.0f}",
                f"{run['rss_last_third_bytes'] / 1e6:.0f}",
                f"{100 * run['rss_change']:+.1f}",
            ]
        )
    return rows
