"""Comma-separated lists of a command line: what they hold, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_lab.lists import names_of, numbers_of, seeds_of, wholes_of
from driftline_shared.errors import ConfigError


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True), st.sampled_from([",", ", ", " ,"]))
def test_numbers_come_back_in_order(numbers: list[int], comma: str) -> None:
    text = comma.join(map(str, numbers))
    assert seeds_of(text) == wholes_of("--n", text) == tuple(numbers)
    assert numbers_of("--n", text) == tuple(map(float, numbers))
    assert names_of("--n", text) == tuple(map(str, numbers))


@pytest.mark.parametrize("text", ["", " , ", "x", "1,,x", "-1", "1.5", "nan", "0,0", "0,00"])
def test_what_is_no_list_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--seeds: "):
        seeds_of(text)


@pytest.mark.parametrize("text", ["", "nan", "inf", "0", "1.01", "0.2,.2", "a"])
def test_numbers_have_bounds(text: str) -> None:
    with pytest.raises(ConfigError, match="--levels: "):
        numbers_of("--levels", text, above=0, most=1)


def test_the_name_that_was_meant_is_told() -> None:
    assert names_of("--d", "fog, night", ("night", "fog")) == ("fog", "night")
    with pytest.raises(ConfigError, match="'fgo' is unknown; did you mean 'fog'"):
        names_of("--d", "fgo", ("night", "fog"))
    with pytest.raises(ConfigError, match="fog is named twice"):
        names_of("--d", "fog,fog", ("night", "fog"))
