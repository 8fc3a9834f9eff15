"""Views: the same for their number, different for another, and true to their style."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from driftline_lab.data.openmoji.concepts import concepts
from driftline_lab.data.openmoji.views import (
    PICTURE_SIZE,
    STYLES,
    VIEWS_PER_USE,
    Style,
    Use,
    render,
    view_of,
)
from driftline_shared.errors import DataError
from tests.fakes.concepts import concept_of

APPLE = concept_of("1F34E")


@pytest.mark.parametrize("style", STYLES)
def test_a_view_repeats_and_another_differs(style: Style) -> None:
    first = render(APPLE, style, view=5)
    assert first.shape == (PICTURE_SIZE, PICTURE_SIZE, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, render(APPLE, style.value, view=5))
    assert (first != render(APPLE, style, view=6)).mean() > 0.1


def test_uses_share_no_view() -> None:
    ends = [(view_of(use, 0), view_of(use, VIEWS_PER_USE - 1)) for use in Use]
    for (_, last), (first, _) in pairwise(ends):
        assert last < first


@pytest.mark.parametrize("number", [-1, VIEWS_PER_USE])
def test_a_view_outside_its_range_is_refused(number: int) -> None:
    with pytest.raises(DataError, match="999,999"):
        view_of(Use.TEST, number)


@pytest.mark.parametrize("style", STYLES)
def test_test_views_are_not_training_views(style: Style) -> None:
    for concept in concepts()[::60]:
        trained = render(concept, style, view=view_of(Use.TRAIN, 0))
        tested = render(concept, style, view=view_of(Use.TEST, 0))
        assert (trained != tested).mean() > 0.1


def test_the_styles_look_as_they_are_called() -> None:
    for concept in concepts()[::40]:
        shown = {style: render(concept, style, view=1).astype(float) for style in STYLES}
        border = {
            style: np.concatenate([picture[:3].reshape(-1, 3), picture[-3:].reshape(-1, 3)])
            for style, picture in shown.items()
        }
        assert border[Style.SOURCE].std(axis=0).max() == 0, "a plain ground"
        assert border[Style.LINEART].mean() > 220
        assert border[Style.PHOTO].std(axis=0).min() > 6, "a busy ground"
        drawn = shown[Style.LINEART]
        assert drawn.min() < 30, "black lines"
        chroma = drawn.max(axis=-1) - drawn.min(axis=-1)
        assert chroma.max() <= 25, "no colour"


def test_the_styles_of_a_view_show_the_same_place() -> None:
    lines = render(APPLE, Style.LINEART, view=9).mean(axis=-1) < 60
    colour = render(APPLE, Style.SOURCE, view=9).mean(axis=-1) < 100
    assert lines.sum() > 500
    assert colour[lines].mean() > 0.8
