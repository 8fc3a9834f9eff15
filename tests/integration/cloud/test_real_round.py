"""One round with real models of random weights: teacher, twin, trainer, gate, packing, registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from driftline_cloud.config import CloudConfig, load_config
from driftline_cloud.rounds.round import RoundState
from driftline_cloud.service.assembly import Makers, assemble, initial_adapter
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.state import hold_state
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.update_apply import apply_update
from tests.fakes.pair_samples import make_samples
from tests.fakes.rounds import run_rounds, send_samples
from tests.fakes.tiny_pair import make_tiny_pair

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(make_tiny_pair(Path(tmp_path_factory.mktemp("pair")), quantization="int8"))


@pytest.fixture
def config(tmp_path: Path, pair: Pair) -> CloudConfig:
    settings = {
        "state": tmp_path / "state",
        "pair": str(pair.dir),
        "rounds.trigger.round_samples": 24,
        # Random weights learn nothing sensible: the gate is wide open here, and judged elsewhere.
        "gate.sure_of_gain": 0.0,
        "gate.sure_of_harm": 1.0,
        "gate.sure_of_source_harm": 1.0,
        "gate.max_step_ratio": 100.0,
        "dwc.max_fp16_share": 0.5,
        "distil.min_steps": 3,
        "distil.max_steps": 3,
        "distil.gate_source_rows": 8,
        "distil.num_source_rows": 8,
        "distil.confidence_floor": 0.0,
        "distil.threads": 1,
    }
    return load_config(None, settings, environment={})


@pytest.fixture
def cloud(config: CloudConfig) -> Iterator[Cloud]:
    with hold_state(config.state) as state:
        found = assemble(config, state, Makers())
        yield found
        found.close()


def test_a_round_of_the_real_parts_releases_what_a_device_applies(cloud: Cloud, pair: Pair) -> None:
    send_samples(cloud, make_samples(pair, 24))
    run_rounds(cloud)
    (round_,) = cloud.ledger.newest(cloud.line.id)
    assert (round_.state, round_.reason) == (RoundState.DONE, "count")
    assert {"gate.candidate_agreement", "update.update_bytes", "update.kept_gain"} <= set(
        round_.numbers
    )
    manifest = cloud.registry.offer(cloud.line.id, 0, failed_versions=())
    assert manifest is not None
    blob = cloud.registry.blobs.read(manifest.blob_digest, 0, 1 << 20)
    start = initial_adapter(pair)
    held = apply_update(start, manifest, blob)
    canonical = cloud.registry.canonical(cloud.line.id, 1)
    assert all(np.array_equal(held[name], canonical[name]) for name in canonical)
    assert any(np.any(held[name] != start[name]) for name in start)
    (status,) = cloud.status().lines
    assert (status.newest_version, status.num_waiting) == (1, 0)
