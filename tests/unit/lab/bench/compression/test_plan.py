"""Which rows the table will have."""

from __future__ import annotations

import pytest

from driftline_lab.bench.compression.plan import Cell, cells, parse_budgets
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.table import METHODS


def test_every_method_that_reads_pictures_gets_every_budget() -> None:
    found = cells("", [0.5, 0.25], videos=False)
    for name, method in METHODS.items():
        keeps = [cell.keep for cell in found if cell.method == name]
        if not method.images:
            assert keeps == []
        elif method.trained:
            assert keeps == [None], "what was trained for one budget runs at its own"
        else:
            assert keeps == [0.5, 0.25]


def test_clips_get_the_methods_for_clips() -> None:
    named = {cell.method for cell in cells("", [0.5], videos=True)}
    assert named == {name for name, method in METHODS.items() if method.videos}


def test_options_are_read_as_they_are_written() -> None:
    found = cells(
        "fastv:layer=3, voco:tokens=1,sparsevlm:recycle=off:keep=0.1", [0.5], videos=False
    )
    assert found == [
        Cell(method="fastv", options={"layer": 3, "keep": 0.5}),
        Cell(method="voco", options={"tokens": 1}),
        Cell(method="sparsevlm", options={"recycle": "off", "keep": 0.1}),
    ]
    assert [cell.label for cell in found] == [
        "fastv:layer=3",
        "voco:tokens=1",
        'sparsevlm:recycle="off"',
    ]


@pytest.mark.parametrize("text", ["fastw", "fastv:layer", "fastv,,vtw"])
def test_what_is_no_method_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="methods"):
        cells(text, [0.5], videos=False)


def test_budgets_fall_and_leave_out_the_whole() -> None:
    assert parse_budgets("0.25, 1.0,0.5,0.25") == [0.5, 0.25]


@pytest.mark.parametrize("text", ["half", "0", "1.5", "-0.5", "nan"])
def test_what_is_no_share_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="budgets"):
        parse_budgets(text)
