"""Random parts of a clip: rising, as many as asked for, even at times and uneven at others."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driftline_lab.recipes.tiny_video.parts import draw_part


@given(
    frames=st.integers(1, 6),
    cells=st.integers(1, 16),
    alike=st.booleans(),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_a_part_has_as_many_cells_as_asked_for(
    frames: int, cells: int, alike: bool, seed: int, data: st.DataObject
) -> None:
    number = data.draw(st.integers(1, frames * cells))
    seen = (
        np.zeros((frames, cells, 3))
        if alike
        else np.random.default_rng(1).normal(size=(frames, cells, 3))
    )
    part = draw_part(seen, number, np.random.default_rng(seed))
    assert part.shape == (number,)
    assert (np.diff(part) > 0).all()
    assert part[0] >= 0 and part[-1] < frames * cells
    assert (part == draw_part(seen, number, np.random.default_rng(seed))).all()


def test_parts_differ_by_frame_and_by_look() -> None:
    """One cell of 16 shows something else: at times parts always hold it, at times never."""
    rng = np.random.default_rng(0)
    seen = 0.1 * rng.normal(size=(16, 16, 8))
    seen[:, 5] += 1.0
    parts = [draw_part(seen, 64, np.random.default_rng(seed)) for seed in range(300)]
    shown = np.array([np.mean(np.isin(np.arange(16) * 16 + 5, part)) for part in parts])
    assert np.mean(shown > 0.8) > 0.08
    assert np.mean(shown < 0.05) > 0.08
    fullest = np.array([np.bincount(part // 16, minlength=16).max() for part in parts])
    assert np.mean(fullest >= 12) > 0.15
    # An even draw leaves each frame about a quarter of its cells.
    assert np.mean(fullest <= 8) > 0.15
    counts = np.bincount(np.concatenate(parts), minlength=256)
    assert counts.min() > 0
