"""What a head is fitted on is what the device hands it; a pair that teaches nothing says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.errors import PairError
from driftline_shared.models.cli import app
from driftline_shared.models.fit.p_ik import IkQuestion, rows_of, rows_of_source
from driftline_shared.models.loading import load_student
from driftline_shared.p_ik.head import LEVELS, IkHead, sigmoid
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import VisualTokens
from tests.fakes.tiny_pair import make_tiny_pair


def test_fitted_rows_are_what_the_device_judges(tmp_path: Path) -> None:
    pair = load_pair(make_tiny_pair(tmp_path / "pair", num_images=4))
    source, grid = pair.source_set(), pair.token_space.grid
    model = load_student(pair, twin=True)
    places = np.arange(grid.num_tokens)
    asked = [
        IkQuestion(values=source.tokens[i], positions=places, question=q, answer=a)
        for i, q, a in source.rows[:6]
    ]
    rows = rows_of(model, asked, pair.max_new_tokens)
    width = rows.features.shape[1]
    weights = np.random.default_rng(0).standard_normal(width)
    weights[-2:] = 0.1
    head = IkHead(
        weights=weights,
        bias=0.0,
        quantiles=np.zeros(len(LEVELS)),
        num_source=9,
        version=0,
    )
    runtime = TorchRuntime(pair)
    runtime.swap(runtime.adapter(), 0, head)
    answers = runtime.answer_tokens(
        [
            VisualTokens(values=each.values, positions=places.astype(np.int32), grid=grid)
            for each in asked
        ],
        [each.question for each in asked],
    )
    scores = [answer.p_ik.score for answer in answers if answer.p_ik is not None]
    np.testing.assert_allclose(scores, sigmoid(rows.features @ weights), atol=1e-3)
    right = [each.answer.lower() == a.text.lower() for each, a in zip(asked, answers, strict=True)]
    assert [not each for each in right] == rows.wrong.tolist()


def test_no_picture_that_calibrates_is_learnt_from(tmp_path: Path) -> None:
    pair = load_pair(make_tiny_pair(tmp_path / "pair", num_images=8))
    model, source = load_student(pair, twin=True), pair.source_set()
    found = rows_of_source(model, source, 4, num_source=40, num_spoilt=10)
    again = rows_of_source(model, source, 4, num_source=40, num_spoilt=10)
    plain, spoilt, kept = found
    assert len(kept) == sum(image % 4 == 0 for image, _, _ in source.rows)
    assert len(plain.wrong) == sum(image % 4 != 0 for image, _, _ in source.rows)
    assert len(spoilt.wrong) == 10
    np.testing.assert_array_equal(spoilt.features, again[1].features)


def test_a_student_that_is_always_wrong_gets_no_head(tmp_path: Path) -> None:
    folder = make_tiny_pair(tmp_path / "pair", num_images=4)
    rows = (folder / "source.jsonl").read_text().splitlines()
    blind = [row.replace('"answer": "', '"answer": "never ') for row in rows]
    (folder / "source.jsonl").write_text("\n".join(blind))
    result = CliRunner().invoke(app, ["fit-p-ik", str(folder)])
    assert isinstance(result.exception, PairError)
    assert "more rows" in str(result.exception)
    assert not (folder / "p_ik.head").exists()


@pytest.mark.parametrize("name", ["tiny", "boards"])
def test_shipped_pairs_have_a_head_that_fits_them(name: str) -> None:
    pair = load_pair(name)
    assert pair.ik_head is not None
    assert pair.ik_head.version == 0
    assert len(pair.gate["p_ik"]) == pair.ik_head.num_source
