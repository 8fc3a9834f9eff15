"""The timeline as SVG: accuracy, uncertainty and bytes over the answers; rounds and updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from driftline_lab.report.numbers import count, percent, size, ticks
from driftline_lab.report.series import MOST_MARKS, Band, Point, Series
from driftline_lab.runs.run import Metrics, RunRound, RunUpdate
from driftline_shared.pages.markup import Markup, tag

Value = Callable[[Point], float | None]

LEFT, RIGHT, TOP, GAP = 52.0, 14.0, 48.0, 34.0
LANE = 34.0
"""Height of the strip of rounds and updates, between the panels."""

NEAR = 13.0
"""Marks closer than this, in pixels, are drawn below each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One curve with an axis of its own. `text`: a value of the axis as people read it."""

    title: str
    name: str
    value: Value
    text: Callable[[float], str]
    height: float
    low: float
    high: float
    stepped: bool = False

    def y(self, value: float, top: float) -> float:
        """Pixels from the top of the picture; `top`: where the panel begins."""
        return top + self.height * (1 - (value - self.low) / (self.high - self.low))


@dataclass(frozen=True, kw_only=True, slots=True)
class Across:
    """From answers to pixels: `num_answers` over the width between the margins."""

    width: float
    num_answers: int

    def x(self, n: float) -> float:
        """Pixels from the left edge."""
        share = min(1.0, max(0.0, n / max(1, self.num_answers)))
        return LEFT + share * (self.width - LEFT - RIGHT)


def timeline_chart(series: Series, metrics: Metrics, *, width: float, name: str) -> Markup:
    """One picture of `width` pixels. `name`: unique in its page, for the title's id."""
    across = Across(width=width, num_answers=series.num_answers)
    panels = _panels(series, narrow=width < 600)
    parts: list[Markup] = []
    tops: list[float] = []
    top = TOP
    for place, panel in enumerate(panels):
        tops.append(top)
        top += panel.height + GAP + (LANE if place == 0 else 0.0)
    bottom = top - GAP
    lane_top = tops[0] + panels[0].height + 8
    parts += _bands(series.bands, across, TOP, bottom)
    parts += _update_lines(metrics.updates[:MOST_MARKS], across, bottom)
    for panel, panel_top in zip(panels, tops, strict=True):
        parts += _axis(panel, panel_top, width)
        if panel.name == "accuracy":
            parts += _teacher(series.bands, metrics, panel, panel_top, across)
        parts.append(_curve(panel, series.points, panel_top, across))
    parts += _lane(metrics, across, lane_top)
    parts += _answers_axis(across, bottom)
    parts += _hover(series.points, across, TOP, bottom)
    title = tag("title", "The run over time", id=f"{name}-title")
    about = tag("desc", _described(series, metrics), id=f"{name}-desc")
    return tag(
        "svg",
        title,
        about,
        *parts,
        viewBox=f"0 0 {width:.0f} {bottom + 40:.0f}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        class_="timeline",
    )


def _panels(series: Series, *, narrow: bool) -> list[Panel]:
    points = series.points
    accuracies = [point.accuracy for point in points if point.accuracy is not None]
    doubts = [point.uncertainty for point in points if point.uncertainty is not None]
    panels = []
    if accuracies:
        low = max(0.0, (min(accuracies) * 10 // 1) / 10 - 0.05)
        panels.append(
            Panel(
                title=f"accuracy, mean of {series.window} answers",
                name="accuracy",
                value=lambda point: point.accuracy,
                text=percent,
                height=150.0 if narrow else 190.0,
                low=low,
                high=1.0,
            )
        )
    if doubts:
        panels.append(
            Panel(
                title="uncertainty, mean",
                name="uncertainty",
                value=lambda point: point.uncertainty,
                text=lambda value: f"{value:.2g}",
                height=76.0,
                low=0.0,
                high=max(doubts) * 1.08 or 1.0,
            )
        )
    for title, name, value in (
        ("bytes up, in all", "up", lambda point: float(point.bytes_up)),
        ("bytes down, in all", "down", lambda point: float(point.bytes_down)),
    ):
        most = max((value(point) for point in points), default=0.0)
        if not most and name == "down":
            continue
        panels.append(
            Panel(
                title=title,
                name=name,
                value=value,
                text=size,
                height=58.0,
                low=0.0,
                high=most * 1.08 or 1.0,
                stepped=name == "down",
            )
        )
    return panels


def _bands(bands: Sequence[Band], across: Across, top: float, bottom: float) -> list[Markup]:
    """A shaded stripe for every other domain, with its name where there is room."""
    parts = []
    for place, band in enumerate(bands):
        left, right = across.x(band.first - 1), across.x(band.last)
        if place % 2:
            parts.append(
                tag("rect", x=left, y=top, width=right - left, height=bottom - top, class_="band")
            )
        if right - left > 7.5 * len(band.domain):
            parts.append(
                tag("text", band.domain, x=(left + right) / 2, y=top - 32, class_="domain middle")
            )
    return parts


def _axis(panel: Panel, top: float, width: float) -> list[Markup]:
    parts = []
    for value in ticks(panel.low, panel.high, most=4 if panel.height > 100 else 2):
        y = panel.y(value, top)
        parts.append(tag("line", x1=LEFT, x2=width - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", panel.text(value), x=LEFT - 6, y=y + 4, class_="tick end"))
    parts.append(tag("text", panel.title, x=LEFT, y=top - 9, class_=f"panel {panel.name}"))
    return parts


def _curve(panel: Panel, points: Sequence[Point], top: float, across: Across) -> Markup:
    moves, last = [], ""
    for point in points:
        value = panel.value(point)
        if value is None:
            last = ""
            continue
        x, y = f"{across.x(point.n):.1f}", f"{panel.y(value, top):.1f}"
        if panel.stepped and last:
            moves.append(f"H{x}V{y}")
        else:
            moves.append(f"{'L' if last else 'M'}{x} {y}")
        last = x
    return tag("path", d="".join(moves), class_=f"curve {panel.name}")


def _teacher(
    bands: Sequence[Band], metrics: Metrics, panel: Panel, top: float, across: Across
) -> list[Markup]:
    """A dashed level over each domain: what the teacher answers on its test set."""
    parts = []
    for band in bands:
        row = metrics.accuracy.get(band.domain)
        if row is None or row.teacher is None or row.teacher < panel.low:
            continue
        y, left, right = panel.y(row.teacher, top), across.x(band.first - 1), across.x(band.last)
        about = f"the teacher on {band.domain}: {percent(row.teacher, 1)}"
        parts.append(
            tag("line", tag("title", about), x1=left, x2=right, y1=y, y2=y, class_="teacher")
        )
    return parts


def _update_lines(updates: Sequence[RunUpdate], across: Across, bottom: float) -> list[Markup]:
    return [
        tag("line", x1=x, x2=x, y1=TOP, y2=bottom, class_="update")
        for x in (across.x(each.at) for each in updates if each.at is not None)
    ]


def _lane(metrics: Metrics, across: Across, top: float) -> list[Markup]:
    """Rounds as diamonds where their last sample was answered, updates as labelled flags."""
    parts, last_x, shift = [], -NEAR, 0.0
    for round_ in metrics.rounds[:MOST_MARKS]:
        if round_.at is None:
            continue
        x = across.x(round_.at)
        shift = (shift + NEAR) % (2 * NEAR) if x - last_x < NEAR else 0.0
        last_x, y = x, top + 6 + shift
        shape = f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6Z"
        kind = "done" if round_.state == "done" else "refused"
        parts.append(tag("path", tag("title", round_text(round_)), d=shape, class_=f"round {kind}"))
    last_x = -100.0
    for update in metrics.updates[:MOST_MARKS]:
        x = across.x(across.num_answers if update.at is None else update.at)
        when = "the last answer" if update.at is None else f"answer {update.at:,}"
        about = f"version {update.version}, {size(update.bytes)}, came after {when}"
        if x - last_x >= 22:
            parts.append(
                tag(
                    "text",
                    tag("title", about),
                    f"v{update.version}",
                    x=min(x, across.width - RIGHT - 8),
                    y=top + 34,
                    class_="version middle",
                )
            )
            last_x = x
    return parts


def _answers_axis(across: Across, bottom: float) -> list[Markup]:
    parts = []
    for value in ticks(0, across.num_answers, most=6 if across.width > 600 else 3):
        x = across.x(value)
        parts.append(tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="grid"))
        edge = "end" if x > across.width - RIGHT - 12 else "middle"
        parts.append(tag("text", f"{value:,.0f}", x=x, y=bottom + 17, class_=f"tick {edge}"))
    middle = across.x(across.num_answers / 2)
    parts.append(tag("text", "answers", x=middle, y=bottom + 33, class_="tick middle"))
    return parts


def _hover(points: Sequence[Point], across: Across, top: float, bottom: float) -> list[Markup]:
    """An unseen stripe a point, whose title a pointer shows."""
    before = [0, *(point.n for point in points)]
    return [
        tag(
            "rect",
            tag("title", _point_text(point)),
            x=across.x(left),
            y=top,
            width=across.x(right) - across.x(left),
            height=bottom - top,
            class_="hover",
        )
        for (left, right), point in zip(pairwise(before), points, strict=True)
    ]


def _point_text(point: Point) -> str:
    doubt = "–" if point.uncertainty is None else f"{point.uncertainty:.3g}"
    return (
        f"answer {point.n:,}, {point.domain}, version {point.version}\n"
        f"accuracy {percent(point.accuracy)}, uncertainty {doubt}\n"
        f"{size(point.bytes_up)} up, {size(point.bytes_down)} down"
    )


def round_text(round_: RunRound) -> str:
    """A round in one sentence."""
    why = f" {round_.started}" if round_.trigger else ""
    end = f": {round_.reason}" if round_.reason else ""
    samples = count(round_.num_samples, "sample")
    return f"round {round_.number}{why}, {samples}, {how_it_ended(round_)}{end}"


def how_it_ended(round_: RunRound) -> str:
    """Its state, and that it was not over if it was not."""
    over = round_.state in ("done", "rejected", "failed")
    return round_.state if over else f"still {round_.state} when the run ended"


def _described(series: Series, metrics: Metrics) -> str:
    domains = ", ".join(f"{each.domain} ({each.first} to {each.last})" for each in series.bands)
    rounds = "; ".join(round_text(each) for each in metrics.rounds[:MOST_MARKS]) or "no round"
    return (
        f"{series.num_answers} answers: {domains[:2000]}. {rounds[:4000]}. "
        f"{count(len(metrics.updates), 'update')}."
    )
