"""What a file of state may hold: JSON whose numbers can be reckoned with."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_shared.host.durable import read_json, write_json


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1e400", "NaN", "-Infinity"])
def test_a_number_that_no_float_holds_is_a_broken_file(tmp_path: Path, number: str) -> None:
    file = tmp_path / "sampling.json"
    file.write_text(f'{{"rate": {{"level": {number}}}}}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"number|JSON"):
        read_json(file)


def test_a_generators_long_whole_numbers_are_kept(tmp_path: Path) -> None:
    value = {"state": 2**128 - 1, "share": 0.25, "count": -3}
    write_json(tmp_path / "sampling.json", value, sealed=True)
    assert read_json(tmp_path / "sampling.json") == value
