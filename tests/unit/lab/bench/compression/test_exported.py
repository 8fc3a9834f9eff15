"""What the bench of exports times, and how it says it; no model is loaded."""

from __future__ import annotations

import pytest

from driftline_lab.bench.compression.exported import as_text, planned_cells
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.portable import PORTABLE


def test_by_default_it_times_all_that_exports_run_on_pictures() -> None:
    planned = planned_cells("", 0.25)
    assert [cell.method for cell in planned] == [n for n, each in PORTABLE.items() if each.images]
    assert all(cell.keep == 0.25 for cell in planned)


def test_a_method_runs_as_exports_run_it() -> None:
    tome, fastv = planned_cells("tome,fastv:layer=3", 0.25)
    assert tome.options == {"where": "projector", "keep": 0.25}
    assert fastv.options == {"layer": 3, "keep": 0.25}


@pytest.mark.parametrize(
    ("methods", "words"), [("fastv,mod", "no export runs mod, but .*fastv"), ("sieve", "'sieve'")]
)
def test_what_no_export_runs_is_named(methods: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        planned_cells(methods, 0.25)


def test_the_table_has_a_line_each_with_shares_and_what_was_compared() -> None:
    row = {"first_s": 0.4, "first_share": 1.0, "pixels_s": 0.5, "pixels_share": 1.0}
    fewer = {"first_s": 0.1, "first_share": 0.25, "pixels_s": 0.2, "pixels_share": 0.4}
    found = {"rows": {"uncompressed": row, "fastv": fewer | {"same_tokens": (3, 4)}}}
    _, first, second = as_text(found).splitlines()
    assert first.split() == ["uncompressed", "400", "ms", "100.0%", "500", "ms", "100.0%"]
    assert second.split() == ["fastv", "100", "ms", "25.0%", "200", "ms", "40.0%", "3", "of", "4"]
