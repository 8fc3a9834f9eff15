"""A slash too many changes nothing."""

import pytest

from driftline_device.api.network.paths import tidy


@pytest.mark.parametrize(
    ("given", "meant"),
    [("/", "/"), ("", "/"), ("//", "/"), ("/a/", "/a"), ("//v1//models/", "/v1/models")],
)
def test_single_slashes_and_none_at_the_end(given: str, meant: str) -> None:
    assert tidy(given) == tidy(meant) == meant
