"""The masks of stochastic passes: their values, their rate, and what they depend on."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_shared.dropout import DropoutMasks


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_a_mask_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    mask = DropoutMasks(rate=rate, seed=1).draw("projector.linear_2", (4, 50, 500))
    assert mask.dtype == np.float32
    assert mask.shape == (4, 50, 500)
    values = np.unique(mask)
    assert values[-1] == pytest.approx(1.0 / (1.0 - rate), rel=1e-4)
    assert set(values[:-1]) <= {0.0}
    assert (mask == 0).mean() == pytest.approx(rate, abs=0.01)
    assert mask.mean() == pytest.approx(1.0, abs=0.01)


def test_masks_do_not_depend_on_the_order_of_places() -> None:
    places, shape = ("layers.0.mlp.down_proj", "layers.1.mlp.down_proj"), (2, 3, 40)
    there, back = DropoutMasks(rate=0.3, seed=5), DropoutMasks(rate=0.3, seed=5)
    forward = {place: there.draw(place, shape) for place in places}
    for place in reversed(places):
        np.testing.assert_array_equal(back.draw(place, shape), forward[place])
    assert (forward[places[0]] != forward[places[1]]).any()


def test_another_seed_or_a_second_draw_is_another_mask() -> None:
    masks, shape = DropoutMasks(rate=0.3, seed=5), (2, 3, 40)
    first = masks.draw("norm", shape)
    assert (first != masks.draw("norm", shape)).any()
    assert (first != DropoutMasks(rate=0.3, seed=6).draw("norm", shape)).any()
