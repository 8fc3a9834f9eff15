"""Small charts as SVG: what rounds of a line measured, and what their updates weigh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from driftline_cloud.page.text import percent, size, when
from driftline_cloud.page.values import RoundFacts
from driftline_shared.pages.markup import Markup, tag

WIDTH, HEIGHT = 520.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 14.0, 26.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One row of values over rounds. `style`: its class in the style sheet."""

    name: str
    style: str
    points: tuple[tuple[RoundFacts, float], ...]


def accuracy_chart(rounds: Sequence[RoundFacts], name: str) -> Markup:
    """What the gate measured, round by round: before, after, and on the source."""
    wanted = (
        ("answers as the teacher's, after", "after", "gate.candidate_agreement"),
        ("before", "before", "gate.base_agreement"),
        ("source, after", "source", "gate.candidate_source_accuracy"),
    )
    curves = [
        Curve(name=title, style=style, points=_points(rounds, key)) for title, style, key in wanted
    ]
    values = [value for curve in curves for _, value in curve.points]
    low = max(0.0, min(values, default=0.0) // 0.1 * 0.1)
    return _chart("Accuracy, as the gate measured it", name, curves, percent, low, 1.0)


def bytes_chart(rounds: Sequence[RoundFacts], name: str) -> Markup:
    """Bytes of the updates that rounds released."""
    key = "update.update_bytes"
    done = [one for one in rounds if one.state == "done"]
    curve = Curve(name="bytes of an update", style="after", points=_points(done, key))
    high = max((value for _, value in curve.points), default=0.0) * 1.1 or 1.0
    return _chart("Bytes of each version's update", name, [curve], size, 0.0, high)


def _points(rounds: Sequence[RoundFacts], key: str) -> tuple[tuple[RoundFacts, float], ...]:
    rising = sorted(rounds, key=lambda one: one.number)
    return tuple((one, float(one.numbers[key])) for one in rising if key in one.numbers)


def _chart(
    title: str,
    name: str,
    curves: Sequence[Curve],
    text: Callable[[float], str],
    low: float,
    high: float,
) -> Markup:
    numbers = sorted({one.number for curve in curves for one, _ in curve.points})
    if not numbers:
        return tag("p", f"{title}: no round has measured it yet.", class_="note")
    span = max(1, numbers[-1] - numbers[0])
    high = high if high > low else low + 1.0

    def x(number: int) -> float:
        if numbers[-1] == numbers[0]:
            return (LEFT + WIDTH - RIGHT) / 2
        return LEFT + (number - numbers[0]) / span * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [tag("title", title, id=f"{name}-title")]
    for step in range(5):
        value = low + (high - low) * step / 4
        parts.append(
            tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), class_="grid")
        )
        parts.append(tag("text", text(value), x=LEFT - 6, y=y(value) + 4, text_anchor="end"))
    for number in _few(numbers):
        parts.append(tag("text", str(number), x=x(number), y=HEIGHT - 8, text_anchor="middle"))
    for curve in curves:
        line = " ".join(f"{x(one.number):.1f},{y(value):.1f}" for one, value in curve.points)
        parts.append(tag("polyline", points=line, class_=f"curve {curve.style}"))
        parts += [
            tag(
                "circle",
                tag("title", f"round {one.number}, {when(one.created_unix_s)}: {text(value)}"),
                cx=x(one.number),
                cy=y(value),
                r=3,
                class_=f"dot {curve.style}",
            )
            for one, value in curve.points
        ]
    drawn = tag(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
        role="img",
        aria_labelledby=f"{name}-title",
    )
    keys = [tag("span", curve.name, class_=f"key {curve.style}") for curve in curves]
    return tag("figure", tag("figcaption", title), drawn, tag("p", *keys, class_="note"))


def _few(numbers: Sequence[int], most: int = 10) -> list[int]:
    step = max(1, -(-len(numbers) // most))
    return list(numbers[::step])
