"""A timeline becomes few points: means of a window, sums, stripes of one domain."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_lab.report.numbers import percent, plain, size, ticks
from driftline_lab.report.series import MOST_BANDS, MOST_POINTS, read_series
from driftline_lab.runs.run import RunUpdate, TimelineRow
from driftline_shared.pages.markup import Markup, join, tag


def rows(count: int, right: int) -> list[TimelineRow]:
    """The first `right` answers are right."""
    return [
        TimelineRow(
            n=n,
            domain="a" if n <= count // 2 else "b",
            correct=n <= right,
            uncertainty=1.0,
            bytes=2,
        )
        for n in range(1, count + 1)
    ]


def test_bands_are_few_however_often_the_domain_changes() -> None:
    count = 3 * MOST_BANDS
    found = read_series((TimelineRow(n=n, domain=str(n % 7)) for n in range(1, count + 1)), count)
    assert len(found.bands) == MOST_BANDS + 1
    last = found.bands[-1]
    assert (last.domain, last.first, last.last) == ("…", MOST_BANDS + 1, count)


def test_means_are_of_the_last_answers_and_sums_of_all() -> None:
    update = RunUpdate(version=1, digest="", bytes=7, at=100)
    series = read_series(rows(160, right=155), 160, [update])
    assert series.window == 10
    last = series.points[-1]
    assert (last.n, last.accuracy, last.uncertainty) == (160, 0.5, 1.0)
    assert (last.bytes_up, last.bytes_down) == (320, 7)
    down = {point.n: point.bytes_down for point in series.points}
    assert (down[100], down[101]) == (0, 7)
    assert [(band.domain, band.first, band.last) for band in series.bands] == [
        ("a", 1, 80),
        ("b", 81, 160),
    ]


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 1200))
def test_there_are_few_points_and_the_last_answer_is_one(count: int) -> None:
    series = read_series((TimelineRow(n=n) for n in range(1, count + 1)), count)
    assert len(series.points) <= MOST_POINTS + 1
    assert [point.n for point in series.points[-1:]] == ([count] if count else [])


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), most=st.integers(1, 8))
def test_ticks_lie_within_and_are_few(low: float, span: float, most: int) -> None:
    found = ticks(low, low + span, most)
    assert len(found) <= most + 1
    assert all(low - span * 1e-6 <= value <= low + span * (1 + 1e-6) for value in found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (percent(0.714), "71 %"),
        (percent(None), "–"),
        (size(999), "999 B"),
        (size(12_345), "12.3 kB"),
        (size(3.4e6), "3.4 MB"),
        (plain(12_345.0), "12,345"),
        (plain(0.12345), "0.1235"),
        (plain(float("1e300")), f"{1e300:,.0f}"),
    ],
)
def test_numbers_are_short(text: str, shown: str) -> None:
    assert text == shown


def test_only_markup_is_not_escaped() -> None:
    assert (
        tag("p", "<b>&", tag("i", "x"), class_='"')
        == '<p class="&quot;">&lt;b&gt;&amp;<i>x</i></p>'
    )
    assert join(Markup("<br>"), "<br>") == "<br>&lt;br&gt;"
    assert tag("line", x1=1 / 3, stroke_width=None, stroke_dasharray=2) == (
        '<line x1="0.33" stroke-dasharray="2"></line>'
    )
