"""What a row says of its turns, as numbers, as text and as plots."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from driftline_lab.bench.compression.plots import front, write_plots
from driftline_lab.bench.compression.rows import BASELINE, Row, Turn, as_text, make_row
from driftline_shared.models.compression.flops import Cost


def _turn(
    *,
    kind: str = "",
    right: bool = True,
    first_s: float = 1.0,
    token_s: float | None = 0.5,
    size: int = 100,
) -> Turn:
    cost = Cost(prefill=10 * size, prefix=0, decode=1, stored=4 * size, read=2 * size)
    return Turn(
        kind=kind,
        right=right,
        encode_s=1.0,
        first_s=first_s,
        token_s=token_s,
        cost=cost,
        visual=size,
        overhead=None,
    )


def test_accuracy_is_a_share_of_the_uncompressed_one_with_its_error() -> None:
    whole = [_turn(right=right) for right in (True, True, True, False)]
    ours = [_turn(right=right) for right in (True, True, False, False)]
    row = make_row("fastv", ours, whole, keep=0.5)
    assert (row.accuracy, row.share) == (0.5, pytest.approx(2 / 3))
    # Paired differences 0, 0, -1, 0: standard deviation 1/2, of four.
    assert row.share_error == pytest.approx(0.25 / 0.75)


def test_ratios_are_taken_question_by_question() -> None:
    """One slow question slows both, and must not tell."""
    whole = [_turn(first_s=each, token_s=each) for each in (1.0, 1.0, 10.0)]
    ours = [_turn(first_s=each, token_s=each) for each in (0.9, 0.5, 5.0)]
    row = make_row("fastv", ours, whole)
    assert row.first_ratio == pytest.approx(0.5)
    assert row.token_ratio == pytest.approx(0.5)
    assert row.first_ms == pytest.approx(900)
    # (1 + 0.9) / 2, (1 + 0.5) / 2, 6 / 11.
    assert row.pixels_ratio == pytest.approx(0.75)


def test_answers_of_one_token_tell_nothing_of_further_ones() -> None:
    whole = [_turn(token_s=1.0), _turn(token_s=1.0)]
    some = make_row("fastv", [_turn(token_s=None), _turn(token_s=0.25)], whole)
    assert some.token_ratio == pytest.approx(0.25)
    none = make_row("fastv", [_turn(token_s=None)] * 2, whole)
    assert none.token_ms is None and none.token_ratio is None
    assert "| uncompressed" not in as_text([none])


def test_what_is_counted_is_a_mean_and_a_share() -> None:
    row = make_row("fastv", [_turn(size=20), _turn(size=40)], [_turn(), _turn()])
    assert (row.prefill_share, row.kv_share) == (pytest.approx(0.3), pytest.approx(0.3))
    assert (row.kv_bytes, row.kv_read_bytes, row.visual_tokens) == (120, 60, 30)
    assert row.overhead_flops is None


def test_accuracy_is_told_by_what_is_asked() -> None:
    ours = [_turn(kind="count"), _turn(kind="count", right=False), _turn(kind="order")]
    assert make_row("fastv", ours, ours).by_kind == {"count": 0.5, "order": 1.0}
    assert make_row("fastv", [_turn()], [_turn()]).by_kind == {}


def test_a_model_that_knows_nothing_has_no_share() -> None:
    row = make_row("fastv", [_turn(right=False)], [_turn(right=False)])
    assert math.isnan(row.share)


def _row(label: str, accuracy: float, cost: float) -> Row:
    whole = [_turn(), _turn()]
    row = make_row(label, whole, whole, keep=0.5)
    return replace(row, accuracy=accuracy, first_ratio=cost, prefill_share=cost)


def test_the_table_has_a_line_for_each_row() -> None:
    text = as_text([_row(BASELINE, 1.0, 1.0), replace(_row("voco", 0.8, 0.2), trained=True)])
    lines = text.splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert lines[3].startswith("| voco*") and "80.0 %" in lines[3]


def test_the_front_holds_what_nothing_beats() -> None:
    rows = [_row("a", 0.9, 0.5), _row("b", 0.8, 0.6), _row("c", 0.95, 0.9), _row("d", 0.5, 0.1)]
    assert [row.label for row in front(rows, lambda row: row.first_ratio)] == ["d", "a", "c"]


def test_plots_are_pictures(tmp_path: Path) -> None:
    rows = [_row(BASELINE, 1.0, 1.0), _row("fastv", 0.9, 0.5), _row("fastv", 0.7, 0.3)]
    written = write_plots(tmp_path / "plots", "tiny", rows)
    assert [path.name for path in written] == ["accuracy-time.png", "accuracy-flops.png"]
    for path in written:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and min(picture.size) > 300
