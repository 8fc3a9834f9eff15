"""The bench of a picture's second question, on random models."""

from __future__ import annotations

from pathlib import Path

from driftline_lab.bench.device.second_question import run_second_question
from tests.fakes.tiny_export import make_tiny_export


def test_each_pair_has_times_and_the_same_answers(tmp_path: Path) -> None:
    pair, export = make_tiny_export(tmp_path)
    found = run_second_question([str(pair.dir), str(export.dir)], rounds=2)
    assert [row["runtime"] for row in found["pairs"]] == ["torch", "onnx"]
    for row in found["pairs"]:
        assert row["same_answers"] == 1.0
        for which in ("first", "second"):
            assert 0 < row[which]["reading_ms"] <= row[which]["ms"]
            assert row[which]["tokens"] >= 1
