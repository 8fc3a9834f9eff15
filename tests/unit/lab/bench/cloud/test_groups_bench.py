"""What the bench of groups says of its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from driftline_lab.bench.cloud.groups import GroupsPlan, join, run_groups, summarise
from driftline_lab.docs_tables import groups
from driftline_lab.docs_tables.page import pages
from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError, DataError


def row(seed: int, night: tuple[float, float], sketch: tuple[float, float]) -> dict[str, Any]:
    return {
        "seed": seed,
        "split": seed != 2,
        "bytes_shared": 9_000,
        "bytes_grouped": [8_000, 8_400],
        "accuracy": {
            name: {"before": 0.7, "shared": shared, "grouped": grouped}
            for name, (shared, grouped) in (
                ("night", night),
                ("sketch", sketch),
                ("source", (0.99, 0.98)),
            )
        },
    }


ROWS = [
    row(0, (0.8, 0.86), (0.84, 0.86)),
    row(1, (0.8, 0.88), (0.85, 0.84)),
    row(2, (0.81, 0.86), (0.84, 0.87)),
]


def document(folder: Path, name: str, rows: list[dict[str, Any]], pair: str = "tiny") -> Path:
    one = [{"seed": each["seed"], "drift": "night", "num_groups": 1} for each in rows]
    found = {"bench": "groups", "pair": pair, "seeds": [each["seed"] for each in rows]}
    result = {**found, "rows": rows, "one": one, "summary": summarise(rows)}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"result": result}))
    return path


def test_gains_are_of_pairs_over_the_seeds() -> None:
    found = summarise(ROWS)
    assert found["num_split"] == 2 and found["num_seeds"] == 3
    assert found["night"]["gain"] == pytest.approx(0.19 / 3)
    assert found["mean"]["gain"] == pytest.approx(0.115 / 3)
    assert found["mean"]["low"] < found["mean"]["gain"] < found["mean"]["high"]
    assert "source" not in found


def test_documents_of_other_seeds_are_put_together(tmp_path: Path) -> None:
    parts = [document(tmp_path, f"part{each['seed']}", [each]) for each in reversed(ROWS)]
    found = join(parts)
    assert found["seeds"] == [0, 1, 2] and found["summary"] == summarise(ROWS)
    with pytest.raises(DataError, match="other plans"):
        join([*parts, document(tmp_path, "other", ROWS[:1], pair="boards")])


def test_the_table_has_a_row_for_each_drift_and_says_what_split(tmp_path: Path) -> None:
    (tmp_path / "experiments/results").mkdir(parents=True)
    document(tmp_path / "experiments/results", "groups", ROWS)
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("")
    (tmp_path / "docs/page.md").write_text("<!-- table: groups -->\n<!-- /table -->\n")
    (page,) = pages(tmp_path)
    head, *table = groups.gains(page)
    assert [len(each) for each in table] == [len(head)] * len(table)
    found = {name: cells for name, *cells in table}
    assert found["night"][:3] == ["70.0 %", "80.3 %", "86.7 %"]
    assert found["lines of two drifts that split"][0] == "2 of 3"
    assert found["lines of one drift that split"][0] == "0 of 3"


def test_a_drift_that_is_none_is_said_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        run_groups(GroupsPlan(drifts=("night", "nowhere")), ignore)
