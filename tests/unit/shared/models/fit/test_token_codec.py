"""fit-token-codec: tables beside the pair that codes with them, by what its projectors read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from driftline_shared.codec.tokens import check_codec, decode_tokens, encode_tokens
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.cli import app
from driftline_shared.models.fit.calibration_images import question_set
from driftline_shared.models.fit.fitting import fit_images
from driftline_shared.models.fit.token_codec import fit_pair_codec, projector_metric
from driftline_shared.pair.pair import load_draft, load_pair
from driftline_shared.tokens import VisualTokens
from tests.fakes.families import FAMILIES
from tests.fakes.family_pair import make_unfitted_pair
from tests.unit.shared.models.fit.test_fitting import photos

FAMILY = min(FAMILIES)


def fit(folder: Path) -> None:
    """The token space and source set of the pair in `folder`, from three photos."""
    images = photos(folder.parent / "photos", 3)
    given = question_set(images, images / "source.jsonl", limit=10)
    fit_images(load_draft(folder), given, lambda _: None)


def test_the_tables_lie_beside_the_pair_and_change_none_of_its_digests(tmp_path: Path) -> None:
    folder = make_unfitted_pair(tmp_path / "pair", FAMILY)
    with pytest.raises(PairError, match="fit-token-space"):
        fit_pair_codec(load_draft(folder))
    fit(folder)
    before = load_pair(folder)
    with pytest.raises(ConfigError, match="fit-token-codec"):
        check_codec("klt128", before.token_space)
    result = CliRunner().invoke(app, ["fit-token-codec", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    pair = load_pair(folder)
    space = pair.token_space
    assert (space.digest, pair.base_model) == (before.token_space.digest, before.base_model)
    assert space.transform is not None and space.transform.digest.hex() == made["digest"]
    values = pair.source_set().tokens[0]
    positions = np.arange(len(values), dtype=np.int32)
    tokens = VisualTokens(values=values, positions=positions, grid=space.grid)
    decoded = decode_tokens(encode_tokens(tokens, space, "klt256"), space).values
    assert ((decoded - values) ** 2).mean() < values.var()
    assert list(made["relative_errors"].values()) == sorted(
        made["relative_errors"].values(), reverse=True
    )


def test_plain_tables_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    folder = make_unfitted_pair(tmp_path / "pair", FAMILY)
    fit(folder)
    made = fit_pair_codec(load_draft(folder), tmp_path / "out", plain=True)
    assert Path(made.file).parent == tmp_path / "out"
    assert load_pair(folder).token_space.transform is None


def test_the_metric_of_a_linear_projector_is_its_gram_matrix() -> None:
    weight = torch.tensor([[3.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    tokens = np.random.default_rng(0).normal(size=(64, 32, 2)).astype(np.float16)
    found = projector_metric(lambda values: values @ weight.T, tokens)
    assert found == pytest.approx((weight.T @ weight).numpy(), rel=0.15, abs=0.3)
