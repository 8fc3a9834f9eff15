"""What was read beside what is sent: the same tokens are the same, whatever holds them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from driftline_device.runtime.left import Reading
from driftline_shared.tokens import Grid, VisualTokens


def tokens(value: float) -> VisualTokens:
    return VisualTokens(
        values=np.full((4, 3), value, np.float32),
        positions=np.arange(4, dtype=np.int32),
        grid=Grid(frames=1, rows=2, cols=3),
    )


def test_what_is_sent_is_not_told_again() -> None:
    assert Reading(tower=tokens(1.0)).other_than(tokens(1.0)) is None
    assert Reading(tower=tokens(1.0), read=tokens(2.0)).other_than(tokens(2.0)) is None


def test_what_was_read_instead_is_told() -> None:
    merged = tokens(2.0)
    assert Reading(tower=tokens(1.0), read=merged).other_than(tokens(1.0)) is merged
    moved = replace(tokens(1.0), positions=np.array([0, 1, 2, 5], dtype=np.int32))
    assert Reading(tower=tokens(1.0)).other_than(moved) is not None
