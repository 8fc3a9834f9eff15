"""The table of the gate's operating curve."""

from __future__ import annotations

import json
from pathlib import Path

from driftline_lab.bench.cloud.gate import curve
from driftline_lab.docs_tables import gates
from driftline_lab.docs_tables.page import pages


def test_each_kind_of_candidate_has_its_number_and_its_share_released(tmp_path: Path) -> None:
    rows = [
        {"gain": gain, "source": source, "released": released}
        for gain, source, released in (
            (0.05, 0.0, True),
            (0.04, -0.02, False),
            (0.0, 0.0, False),
            (-0.02, 0.0, True),
            (-0.08, 0.0, False),
        )
    ]
    (tmp_path / "experiments/results").mkdir(parents=True)
    (tmp_path / "experiments/results/gate.json").write_text(json.dumps({"result": curve(rows)}))
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("")
    (tmp_path / "docs/page.md").write_text("<!-- table: gate-curve -->\n<!-- /table -->\n")
    (page,) = pages(tmp_path)
    head, *table = gates.curve(page)
    assert len(head) == 3
    found = {what: (number, share) for what, number, share in table}
    assert found["loss above 3 points"] == ("1", "0 %")
    assert found["gain of 3 points and more"] == ("2", "50 %")
    assert found["**gain of 3 points and more, source within 1 point**"] == ("1", "**100 %**")
    assert found["**loss of 1 point and more**"] == ("2", "**50 %**")
    assert found["source 1 point and more below version 0, whatever the gain"] == ("1", "**0 %**")
