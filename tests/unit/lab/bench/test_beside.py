"""`driftline lab bench beside`: two checkouts asked in turn, their medians set in relation."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from driftline_lab.bench.device import beside


def test_both_are_asked_alike_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, str, int]] = []

    def ask(checkout: Path, work: str, count: int) -> dict[str, list[float]]:
        is_other = checkout == tmp_path
        asked.append((is_other, work, count))
        return {f"{work}.ms": [4.0, 8.0, 6.0] if is_other else [3.0], f"{work}.failed": [0]}

    def start(checkout: Path, _pair: str, _runtime: str) -> Any:
        return nullcontext(checkout)

    monkeypatch.setattr(beside, "_start", start)
    monkeypatch.setattr(beside, "_ask", ask)
    result = beside.run_beside(tmp_path, [("tiny", "torch")], rounds=2, swaps=20)
    assert result["swaps"] == 24, "as many in each turn"
    assert result["torch"]["other"]["swaps.ms"] == {"median": 6.0, "p99": 8.0}
    assert result["torch"]["this_over_other"] == {
        f"{work}.ms": 0.5 for work in ("answers", "memory", "swaps")
    }
    assert asked[:2] == [(False, "answers", beside.NUM_EACH), (True, "answers", beside.NUM_EACH)]
    assert asked.count((True, "swaps", 3)) == asked.count((False, "swaps", 3)) == 8
