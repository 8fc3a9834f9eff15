"""The shipped pair `tiny`, exported: rounded graphs answer as the twin does."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_shared.models.export.pair_export import export_pair
from driftline_shared.pair.export_file import load_export
from driftline_shared.pair.pair import load_pair

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LEAST = {"fp32": 1.0, "int8": 0.99, "int4": 0.98}


def test_every_precision_answers_as_the_twin(tmp_path: Path) -> None:
    steps: list[str] = []
    made = export_pair(load_pair("tiny"), tmp_path / "tiny", report=steps.append)
    assert made.num_checked == 64
    assert made.logit_error <= 1e-5
    for name, least in LEAST.items():
        assert made.agreement[name] >= least, name
    assert made.tower.startswith("int8")
    export = load_export(tmp_path / "tiny")
    sizes = {name: precision.num_bytes for name, precision in export.precisions.items()}
    assert sizes["int8"] < 0.4 * sizes["fp32"]
    assert len(steps) >= 4
