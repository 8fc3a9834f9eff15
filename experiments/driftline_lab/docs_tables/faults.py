"""What was broken on purpose, and what came of it: runs of chaos, and of broken documents."""

from __future__ import annotations

from collections import Counter

from driftline_lab.docs_tables.page import Page, Rows


def chaos_runs(page: Page) -> Rows:
    """A row a seed."""
    runs = page.result("chaos")["result"]["runs"]
    rows = [
        [
            "seed", "minutes of faults", "faults", "starts of devices", "answers", "samples",
            "versions", "of them harmful", "undone by power cuts", "broken",
        ],
        *(
            [
                str(each["seed"]), f"{each['minutes']:g}", str(each["num_faults"]),
                str(each["num_starts"]), str(each["num_answers"]), str(each["num_samples"]),
                str(each["num_versions"]), str(each["num_harmful_versions"]),
                str(each["num_undone_by_power_cuts"]), str(len(each["broken"])),
            ]
            for each in runs
        ),
    ]  # fmt: skip
    totals = [sum(float(row[column].split()[0]) for row in rows[1:]) for column in range(1, 10)]
    return [*rows, ["**all**", *(f"**{total:g}**" for total in totals)]]


def chaos_faults(page: Page) -> Rows:
    """How often each fault was made, in all runs."""
    found: Counter[str] = Counter()
    for each in page.result("chaos")["result"]["runs"]:
        found.update(each["faults"])
    return [["fault", "times"], *([name, str(num)] for name, num in sorted(found.items()))]


def fuzzed(page: Page) -> Rows:
    """A row a format."""
    result = page.result("fuzz")["result"]
    return [
        ["format", "executions", "branches", "findings"],
        *(
            [
                name,
                f"{each['executions']:,}",
                str(each.get("branches", "-")),
                str(sum(each["findings"].values())),
            ]
            for name, each in result["formats"].items()
        ),
        ["**all**", f"**{result['executions']:,}**", "", f"**{result['findings']}**"],
    ]
