"""The tables of the page: domains, rounds, settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from driftline_lab.data.domains import SOURCE
from driftline_lab.report.chart import how_it_ended, round_text
from driftline_lab.report.numbers import count, percent, plain, size
from driftline_lab.report.series import MOST_MARKS
from driftline_lab.runs.folder import Run
from driftline_lab.runs.run import AS_RECORDED, DomainAccuracy, Metrics, RunKind, RunRound
from driftline_shared.pages.markup import Markup, join, tag

TRACK = 260.0
"""Width of the small picture in a row of the domains, before it is scaled."""

LOST_POINTS = 2.0
"""Percentage points that a domain may lose before it is shown as a loss."""

_GATE = (
    ("agreement with teacher", "gate.base_agreement", "gate.candidate_agreement"),
    ("source accuracy", "gate.base_source_accuracy", "gate.candidate_source_accuracy"),
)
"""The gate's numbers that have a column of their own: heading, base, candidate."""


def domains_table(metrics: Metrics, kind: RunKind, *, as_recorded: bool = False) -> Markup:
    """Accuracy by domain: before, after, the teacher, and how much of the gap came back."""
    heads = [("domain", ""), ("", "track"), ("before", "number"), ("after", "number")]
    heads += [("teacher", "number")]
    if not as_recorded:
        heads += [("recovered", "number")]
    low = min((min(row.before, row.after) for row in metrics.accuracy.values()), default=0.0)
    low = max(0.0, (low * 10 // 1) / 10 - 0.05)
    rows = [
        tag(
            "tr",
            tag("th", domain, scope="row"),
            tag("td", _track(row, low), class_="track"),
            tag("td", percent(row.before, 1), class_="number"),
            tag("td", percent(row.after, 1), class_="number strong"),
            tag("td", percent(row.teacher, 1), class_="number"),
            *([] if as_recorded else [tag("td", _recovered(domain, row), class_="number strong")]),
        )
        for domain, row in metrics.accuracy.items()
    ]
    about = f"{_about(metrics, kind)} {AS_RECORDED}" if as_recorded else _about(metrics, kind)
    return table(about, heads, rows)


def _about(metrics: Metrics, kind: RunKind) -> str:
    if kind == "replay":
        return (
            "Right answers of the trace, by domain: before as they were recorded, after as the "
            "replay gave them."
        )
    counts = sorted({row.num_questions for row in metrics.accuracy.values() if row.num_questions})
    asked = f" of {' or '.join(f'{count:,}' for count in counts)} questions" if counts else ""
    return (
        f"Right answers on held-out test sets{asked}, by domain. Recovered: what came back of the "
        "distance between the device before and the teacher."
    )


def rounds_table(metrics: Metrics) -> Markup:
    """Every round: when, why, what the gate saw, how it ended."""
    if not metrics.rounds:
        came = count(metrics.uplink.sent, "sample")
        return tag("p", f"No round was started. {came} came.", class_="note")
    heads = [("round", ""), ("after answer", "number"), ("samples", "number")]
    heads += [(head, "number") for head, _, _ in _GATE]
    heads += [("update's blob", "number"), ("ended", "")]
    shown = metrics.rounds[:MOST_MARKS]
    rows = [
        tag(
            "tr",
            tag("th", str(each.number), scope="row"),
            tag("td", "–" if each.at is None else f"{each.at:,}", class_="number"),
            tag("td", f"{each.num_samples:,}", class_="number"),
            *(tag("td", _change(each, a, b), class_="number") for _, a, b in _GATE),
            tag("td", _update_size(each), class_="number"),
            tag("td", _ended(each), class_="ended"),
        )
        for each in shown
    ]
    caption = "Gate numbers go from the version in force to the candidate."
    if len(metrics.rounds) > len(shown):
        caption += f" These are the first {len(shown)} of {len(metrics.rounds):,} rounds."
    details = [
        tag("details", tag("summary", round_text(each)), _numbers_table(each.numbers))
        for each in shown
        if each.numbers
    ]
    return join(
        tag("div", table(caption, heads, rows), class_="card wide", tabindex=0),
        tag("div", *details, class_="folds"),
    )


def settings_tables(run: Run) -> Markup:
    """What was run: pair, digests, seed, settings, policy, versions; each behind a fold."""
    info = asdict(run.info)
    times = asdict(run.timings)
    groups: dict[str, Any] = {
        "the run": {key: value for key, value in info.items() if not isinstance(value, dict)},
        "settings": info["settings"],
        "sampling policy": info["policy"],
        "versions": info["versions"],
        "times": {"seconds": times["seconds"], "apply_pause_ms": times["apply_pause_ms"]},
        "other numbers": run.metrics.numbers,
    }
    return join(
        *(
            tag("details", tag("summary", name), _numbers_table(dict(_leaves(group))))
            for name, group in groups.items()
            if group
        )
    )


def table(caption: str, heads: Sequence[tuple[str, str]], rows: Sequence[Markup]) -> Markup:
    """A table with its caption; `heads`: text and class of each column."""
    head = [
        tag("th", text, scope="col", class_=kind or None)
        if text
        else tag("td", "", class_=kind or None)
        for text, kind in heads
    ]
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *head)),
        tag("tbody", *rows),
    )


def _numbers_table(values: dict[str, Any]) -> Markup:
    rows = [
        tag("tr", tag("th", name, scope="row"), tag("td", _shown(value)))
        for name, value in values.items()
    ]
    return tag("table", tag("tbody", *rows))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return plain(value)
    return "–" if value is None or value == "" else str(value)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        yield name, ", ".join(_shown(each) for each in value)
    else:
        yield name, value


def _track(row: DomainAccuracy, low: float) -> Markup:
    """Before and after as two dots on a rail, the teacher as a bar across it."""

    def x(value: float) -> float:
        return 8 + (TRACK - 16) * max(0.0, value - low) / (1.0 - low)

    lost = " lost" if row.after < row.before else ""
    parts = [
        tag("line", x1=x(low), x2=x(1.0), y1=9, y2=9, class_="rail"),
        tag("line", x1=x(row.before), x2=x(row.after), y1=9, y2=9, class_=f"gain{lost}"),
    ]
    if row.teacher is not None:
        parts.append(tag("line", x1=x(row.teacher), x2=x(row.teacher), y1=1, y2=17, class_="goal"))
    parts += [
        tag("circle", cx=x(value), cy=9, r=5, class_=f"dot {name}{lost}")
        for name, value in (("before", row.before), ("after", row.after))
    ]
    return tag("svg", *parts, viewBox=f"0 0 {TRACK:.0f} 18", aria_hidden="true")


def _recovered(domain: str, row: DomainAccuracy) -> Markup:
    if domain == SOURCE or row.recovered is None:
        points = 100 * (row.after - row.before)
        return tag(
            "span",
            f"{points:+.1f} points".replace("-", "−"),
            class_="bad" if points < -2 else "note",
        )
    return tag("span", percent(row.recovered), class_="good" if row.recovered > 0 else "bad")


def _change(round_: RunRound, base: str, candidate: str) -> str:
    if base not in round_.numbers or candidate not in round_.numbers:
        return "–"
    change = f"{percent(round_.numbers[base])} → {percent(round_.numbers[candidate])}"
    held_out = round_.numbers.get("gate.candidate_num_holdout")
    if not held_out or not candidate.endswith("_agreement"):
        return change
    return f"{change} of {count(int(held_out), 'held-out sample')}"


def _update_size(round_: RunRound) -> str:
    num_bytes = round_.numbers.get("update.blob_bytes")
    return "–" if num_bytes is None else size(num_bytes)


def _ended(round_: RunRound) -> Markup:
    kind = {"done": "good", "rejected": "bad", "failed": "bad"}.get(round_.state, "open")
    by = f", started {round_.started}" if round_.trigger else ""
    why = f": {round_.reason}" if round_.reason else ""
    return join(tag("span", how_it_ended(round_), class_=f"strong {kind}"), f"{by}{why}")
