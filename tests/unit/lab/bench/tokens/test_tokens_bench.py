"""The bench of token scorers: what is counted, and rows that are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from driftline_cloud.jobs import Label
from driftline_device.runtime.runtime import Answer
from driftline_device.sampling.choice import TokenChoice
from driftline_lab.bench.tokens.arms import arm
from driftline_lab.bench.tokens.run import Rows, TokensPlan
from driftline_lab.bench.tokens.samples import Uncertain, coded, kept_positions, shares_of
from driftline_lab.data.boards.questions import Asked, Kind
from driftline_lab.data.boards.stream import Event
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.tokens import Grid, TokenSpace, VisualTokens

GRID = Grid(rows=8, cols=8)
SPACE = TokenSpace(
    digest="00" * 32,
    grid=GRID,
    low=np.zeros(2, np.float32),
    high=np.ones(2, np.float32),
    mean=np.zeros(2, np.float32),
    precision=np.eye(2, dtype=np.float32),
)


def asked(kind: Kind, square: int | None) -> tuple[Event, Answer]:
    tokens = VisualTokens(
        values=np.random.default_rng(0).random((64, 2), dtype=np.float32),
        positions=np.arange(64, dtype=np.int32),
        grid=GRID,
    )
    event = Event(
        domain="ada",
        segment=0,
        image_id=1,
        asked=Asked(kind=kind, question="what?", answer="white king", square=square),
    )
    answer = Answer(text="nothing", tokens=tokens, scores={"entropy": 0.5}, num_steps=1, version=0)
    return event, answer


@pytest.fixture
def found() -> Uncertain:
    rows = [asked(Kind.PIECE, 3), asked(Kind.PIECE, 60), asked(Kind.COUNT, None)]
    return Uncertain(events=[e for e, _ in rows], answers=[a for _, a in rows], num_seen=9)


def test_the_deciding_square_counts_where_one_decides(found: Uncertain) -> None:
    scores = [-np.arange(64, dtype=np.float32)] * 3  # the first squares are kept
    kept = kept_positions(found, scores, TokenChoice(share=0.1))
    assert [each.tolist() for each in kept] == [list(range(6))] * 3
    samples = coded(found, kept, SPACE)
    words = ("white king", "nothing", "3")
    labels = [
        Label(sample_id=sample.id, text=text, tokens=(), confidence=sure)
        for sample, text, sure in zip(samples, words, (0.9, 0.6, 0.2), strict=True)
    ]
    row = shares_of(found, kept, samples, labels, floor=0.5)
    assert row["square_kept"] == 0.5
    assert row["teacher_right"] == 0.5
    assert row["teacher_right_all"] == pytest.approx(1 / 3)
    assert row["sure"] == pytest.approx(2 / 3)
    assert row["sure_right"] == 0.5
    assert row["num_samples"] == 3
    assert row["num_one_square"] == 2
    assert row["bytes"] > 0


def test_an_arm_is_a_scorer_with_a_choice() -> None:
    made = arm("question_attention+spread=0.5+floor=0.05")
    assert (made.scorer, made.text) == (
        "question_attention",
        "question_attention+spread=0.5+floor=0.05",
    )
    assert made.at(0.25) == TokenChoice(share=0.25, spread=0.5, floor=0.05)
    for wrong in ("nothing", "random+half=0.5", "random+mass=2", "random+mass=x"):
        with pytest.raises(ConfigError):
            arm(wrong)


def test_finished_rows_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "work" / "rows.jsonl"
    rest = {"square_kept": 0.5, "teacher_right": 1.0}
    Rows(path).put("a", {"share": 0.1, **rest})
    Rows(path).put("b", {"share": 0.2, **rest})
    again = Rows(path)
    assert again.get("a") == {"share": 0.1, **rest}
    assert again.get("c") is None
    assert Rows(None).get("a") is None


@pytest.mark.parametrize("line", ['{"key": "a"}', '{"key": "a", "row": {"share": 1}}', "[]", "x"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(DataError, match=r"rows\.jsonl holds a line that is no row"):
        Rows(path)


def test_without_rounds_nothing_is_tested() -> None:
    assert TokensPlan(settings={}).has_rounds
    assert not TokensPlan(settings={}, round_shares=()).has_rounds
    assert not TokensPlan(settings={}, round_shares=(0.07,)).has_rounds
