"""The bench of the gate: variants of a round's candidate, judged, measured, and told by gain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from driftline_cloud.distill.student import Models, load_models
from driftline_lab.bench.cloud.gate import VARIANTS, curve, join, rows_of, variant
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.errors import DataError
from tests.fakes.material import DOMAINS, random_material, random_plan
from tests.fakes.tiny_pair import make_tiny_pair


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return load_models(make_tiny_pair(tmp_path_factory.mktemp("pair")))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultStore]:
    found = ResultStore(tmp_path / "store")
    yield found
    found.close()


def test_each_round_gives_one_row_a_variant(models: Models, store: ResultStore) -> None:
    plan = random_plan()
    rows = rows_of(plan, models, random_material(models, plan), store)
    assert len(rows) % len(VARIANTS) == 0
    assert {row["variant"] for row in rows} == set(VARIANTS)
    assert {row["domain"] for row in rows} <= set(DOMAINS)
    assert all({"sure_of_gain", "candidate_agreement"} <= set(row["numbers"]) for row in rows)
    assert all(-1 <= row["gain"] <= 1 for row in rows)


def test_a_variant_is_a_point_on_the_way_and_its_noise_is_sized_by_the_step() -> None:
    base = {"w": np.zeros((40, 50), np.float32)}
    trained = {"w": np.full((40, 50), 0.5, np.float32)}
    rng = np.random.default_rng(0)
    assert np.allclose(variant(base, trained, "half way", rng)["w"], 0.25)
    assert np.allclose(variant(base, trained, "half back", rng)["w"], -0.25)
    noise = variant(base, trained, "noise", rng)["w"]
    assert noise.std() == pytest.approx(2.0 * 0.5, rel=0.05) and abs(noise.mean()) < 0.1


def test_the_curve_counts_clear_gains_and_losses() -> None:
    rows = [
        {"gain": gain, "source": source, "released": released}
        for gain, source, released in (
            (0.05, 0.0, True),
            (0.03, -0.005, False),
            (0.08, -0.05, False),
            (0.0, 0.0, True),
            (-0.01, 0.0, True),
            (-0.2, -0.1, False),
        )
    ]
    found = curve(rows)
    assert found["summary"]["gain"] == {"num": 2, "released": 0.5}
    assert found["summary"]["loss"] == {"num": 2, "released": 0.5}
    assert found["summary"]["source_loss"] == {"num": 2, "released": 0.0}
    assert sum(one["num"] for one in found["bins"]) == 6


def test_results_of_several_seeds_are_put_together(tmp_path: Path) -> None:
    paths = []
    for seed in (3, 1):
        rows = [{"gain": 0.05, "source": 0.0, "released": seed == 1, "seed": seed}]
        path = tmp_path / f"{seed}.json"
        path.write_text(json.dumps({"result": {"pair": "tiny", "seeds": [seed], "rows": rows}}))
        paths.append(path)
    found = join(paths)
    assert found["seeds"] == [1, 3]
    assert found["summary"]["gain"] == {"num": 2, "released": 0.5}
    with pytest.raises(DataError, match="each seed once"):
        join([paths[0], paths[0]])
    paths[0].write_text("{}")
    with pytest.raises(DataError, match="no result of"):
        join(paths)
