"""The demo's screen draws whatever state the two sides are in."""

from __future__ import annotations

import io

from rich.console import Console

from driftline_lab.demo.screen import CURVE_POINTS, View, line, render, spark_line


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


def test_the_curve_keeps_its_bounds() -> None:
    assert spark_line((0.0, 1.0)) == "▁█"
    assert spark_line((-1.0, 2.0)) == "▁█"
    assert len(spark_line(tuple([0.5] * 500))) == CURVE_POINTS
