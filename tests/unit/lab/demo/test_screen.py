"""The demo's screen draws whatever state the two sides are in."""

from __future__ import annotations

import io

from rich.console import Console

from driftline_lab.demo.screen import CURVE_POINTS, Lines, View, line, render, spark_line


def drawn(view: View) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(render(view))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_an_empty_view_is_drawn_before_anything_is_known() -> None:
    assert "device" in drawn(View())
    assert "accuracy -" in line(View())


def test_a_full_view_shows_both_sides() -> None:
    view = View(segment="night", answered=10, total=20, accuracy=0.5, round_state="distilling")
    text = drawn(view)
    assert "night" in text
    assert "distilling" in text
    assert "50.0 %" in text


def test_a_log_gets_a_line_where_something_is_new_and_not_too_often() -> None:
    written: list[str] = []
    said = [(0.0, 1), (1.0, 2), (5.0, 3), (11.0, 3), (60.0, 3), (61.0, 4)]
    times = iter([at_s for at_s, _ in said])
    lines = Lines(written.append, every_s=5.0, now=lambda: next(times))
    for _, answered in said:
        lines.show(View(answered=answered))
    assert written == [line(View(answered=answered)) for answered in (1, 3, 4)]


def test_the_curve_keeps_its_bounds() -> None:
    assert spark_line((0.0, 1.0)) == "▁█"
    assert spark_line((-1.0, 2.0)) == "▁█"
    assert len(spark_line(tuple([0.5] * 500))) == CURVE_POINTS
