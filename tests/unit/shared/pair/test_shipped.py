"""An install without the wheel of weights says what to install; one with it lists what it holds."""

from __future__ import annotations

import pytest

from driftline_shared.errors import PairError
from driftline_shared.pair import shipped
from driftline_shared.pair.pair import find_pair


def test_a_shipped_name_without_the_weights_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shipped, "find_spec", lambda name: None)
    assert shipped.shipped_pairs() == []
    with pytest.raises(PairError, match=r"driftline_pairs`.*driftline models export"):
        find_pair("tiny")


def test_a_name_that_is_not_shipped_is_told_which_are() -> None:
    with pytest.raises(PairError, match=r"\['boards', 'smol', 'tiny'\]"):
        find_pair("huge")
