"""A device with a budget and a real link: what leaves, what waits, what its owner is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_device.cli import app
from driftline_device.config import load_config
from driftline_device.program.service import run_device
from tests.fakes.cloud_server import FakeCloud
from tests.fakes.runtime import FakeRuntime, stream, write_dataset, write_pair

pytestmark = pytest.mark.integration

LIMIT = 3_000


def test_runs_together_stay_within_the_budget_and_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "driftline_device.program.assembly.make_runtime", lambda *_, **__: FakeRuntime()
    )
    state, data = tmp_path / "state", write_dataset(tmp_path / "data", stream(60, hard=True))
    with FakeCloud() as cloud:
        config = load_config(
            None,
            {
                "state": str(state),
                "pair": str(write_pair(tmp_path / "pair")),
                "cloud": cloud.address,
                "budget": f"{LIMIT} B/hour",
                "drain_s": 1.0,
                "show_answers": False,
                "sampling.gate_quantile": 0.0,
                "sampling.max_sample_share": 1.0,
                "sampling.repeat_distance": 0.0,
                "sampling.token_scorer": "magnitude",
            },
            {},
        )
        snapshots = [run_device(config, [str(data)], hold=False) for _ in range(2)]
        sent = sum(len(batch) for batch in cloud.batches)
    assert 0 < sent <= LIMIT
    assert snapshots[-1]["spool"]["num_samples"] > 0, "what has no room waits"
    # What comes down is spent whatever the limit, in the first run as in the second.
    down = sum(one["bytes_down"] for one in snapshots)
    assert sent <= snapshots[-1]["budget"]["spent"] <= LIMIT + down
    assert snapshots[-1]["budget"]["plan"]["max_sample_share"] == 1.0, "set by hand"

    shown = CliRunner().invoke(app, ["bytes", "--state", str(state), "--json"])
    found = json.loads(shown.stdout)
    assert found["day"]["up"] == sent and found["budget"]["num_bytes"] == LIMIT
    assert "budget" in CliRunner().invoke(app, ["status", "--state", str(state)]).stdout
