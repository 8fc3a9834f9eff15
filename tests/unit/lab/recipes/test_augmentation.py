"""Augmentation follows from seed and picture, changes it, and keeps to pictures."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_lab.data.easyvqa import Part, image_ids, read_picture
from driftline_lab.drift.figure import find_figure
from driftline_lab.recipes.tiny.augmentation.base import Change
from driftline_lab.recipes.tiny.augmentation.colours import posterized
from driftline_lab.recipes.tiny.augmentation.grain import SLOPES, spectral_noise
from driftline_lab.recipes.tiny.augmentation.mixture import CHANGES, augmented
from driftline_lab.recipes.tiny.augmentation.styles import STYLES

IDS = image_ids(Part.TRAIN)[:8]


@pytest.mark.parametrize("change", dict.fromkeys(CHANGES), ids=lambda change: change.__name__)
def test_a_change_follows_from_its_generator_and_spares_its_input(change: Change) -> None:
    picture = read_picture(IDS[0]).astype(np.float32)
    before = picture.copy()
    first, again = (change(picture, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(picture, before)
    assert first.shape == picture.shape
    assert np.isfinite(first).all()
    others = [change(picture, np.random.default_rng(seed)) for seed in range(5, 9)]
    assert any(not np.array_equal(first, other) for other in others)
    assert any(np.abs(other - picture).max() > 5 for other in others)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_a_style_shows_the_figure_apart_from_its_ground(style: Change) -> None:
    for image_id in IDS:
        figure = find_figure(read_picture(image_id))
        drawn = style(figure, np.random.default_rng(image_id))
        assert drawn.shape == (64, 64, 3)
        inside = figure.cover > 0.05
        outside = figure.cover == 0.0
        assert np.abs(drawn[inside].mean(axis=0) - drawn[outside].mean(axis=0)).max() > 4


def test_an_augmented_picture_is_the_same_for_its_seed_and_id() -> None:
    for image_id in IDS:
        picture = read_picture(image_id)
        first, again, other = (augmented(picture, seed=s, image_id=image_id) for s in (3, 3, 4))
        np.testing.assert_array_equal(first, again)
        assert (first.shape, first.dtype) == (picture.shape, np.uint8)
        assert not np.array_equal(first, other)


def test_posterized_pictures_have_few_levels() -> None:
    ramp = np.repeat(np.linspace(0, 255, 64, dtype=np.float32)[None, :, None], 64, axis=0)
    changed = posterized(np.repeat(ramp, 3, axis=2), np.random.default_rng(0))
    assert len(np.unique(changed)) <= 8


def test_noise_is_never_white() -> None:
    """That is the corruption `gaussian_noise`: low frequencies are stronger here."""
    assert SLOPES[0] > 0
    grey = np.full((64, 64, 3), 127.5, dtype=np.float32)
    for seed in range(6):
        noise = spectral_noise(grey, np.random.default_rng(seed)).mean(axis=2) - 127.5
        power = np.abs(np.fft.fft2(noise)) ** 2
        far = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
        assert power[(far > 0) & (far < 0.1)].mean() > 1.5 * power[far > 0.4].mean()
