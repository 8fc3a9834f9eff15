"""What a working process is told: settings that nobody set stay unset, so that the pair's count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from driftline_cloud.config import CloudConfig, load_config
from driftline_cloud.service.supervisor import work_orders
from driftline_shared.pair.pair import load_pair

SMOL = load_pair("smol").spec.distillation.settings


def told(config: CloudConfig) -> CloudConfig:
    """The settings as `driftline_cloud.work` reads them."""
    orders = json.loads(work_orders(config, "me", line="smol-1", pair="smol"))
    assert (orders["owner"], orders["line"]) == ("me", "smol-1")
    return CloudConfig(**orders["config"])


def test_a_pairs_settings_reach_the_process_that_distils(tmp_path: Path) -> None:
    config = told(load_config(None, {"state": str(tmp_path), "pair": "smol"}))
    assert (config.state, config.pair) == (tmp_path, "smol")
    found = config.distil.of_pair(SMOL)
    assert found.model_dump().items() >= SMOL.items()
    assert (found.max_steps, found.learning_rate) == (100, 1.5e-3)


def test_what_an_operator_set_wins_over_the_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text("[distil]\nmax_steps = 130\n")
    monkeypatch.setenv("DRIFTLINE_CLOUD_DISTIL__A5", "2.0")
    config = told(load_config(file, {"distil.extra_questions": 2, "state": str(tmp_path)}))
    found = config.distil.of_pair(SMOL)
    assert (found.max_steps, found.a5, found.extra_questions) == (130, 2.0, 2)
    assert found.num_source_rows == SMOL["num_source_rows"]
