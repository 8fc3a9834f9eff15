"""Corruptions are domains of their own, follow from a seed, and stay out of what recipes read."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from driftline_lab.data.corrupted import ALL_DOMAINS
from driftline_lab.data.domains import DOMAINS
from driftline_lab.data.easyvqa import Part, image_ids, questions_of, read_picture
from driftline_lab.drift.corruptions import (
    COMMON,
    CORRUPTIONS,
    EXTRA,
    FAMILIES,
    SEVERITIES,
    corruption_name,
)
from driftline_shared.errors import ConfigError

IMAGE_ID = image_ids(Part.STREAM)[3]


def test_names_say_the_severity_unless_it_is_the_middle_one() -> None:
    assert corruption_name("fog") == "corrupt-fog"
    assert corruption_name("fog", 5) == "corrupt-fog-5"
    assert (len(COMMON), len(EXTRA)) == (15, 4)
    assert len(CORRUPTIONS) == len(FAMILIES) * len(SEVERITIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_follows_from_seed_and_picture_alone(family: str) -> None:
    drift, picture = CORRUPTIONS[corruption_name(family)], read_picture(IMAGE_ID)
    before = picture.copy()
    np.random.seed(1)
    first = drift.change_picture(picture, seed=5, image_id=IMAGE_ID)
    np.random.seed(2)
    again = drift.change_picture(picture, seed=5, image_id=IMAGE_ID)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(picture, before)
    assert (first.shape, first.dtype) == (picture.shape, np.uint8)
    assert not np.array_equal(first, picture)


@pytest.mark.parametrize("family", ["gaussian_noise", "impulse_noise"])
def test_random_families_differ_by_seed_and_leave_the_global_generator_alone(family: str) -> None:
    drift, picture = CORRUPTIONS[corruption_name(family)], read_picture(IMAGE_ID)
    np.random.seed(7)
    expected = np.random.random(3)
    np.random.seed(7)
    one, other = (drift.change_picture(picture, seed=s, image_id=IMAGE_ID) for s in (0, 1))
    np.testing.assert_array_equal(np.random.random(3), expected)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("family", ["gaussian_noise", "contrast", "frost", "defocus_blur"])
def test_severity_five_is_further_from_the_picture(family: str) -> None:
    picture = read_picture(IMAGE_ID).astype(int)
    far = [
        np.abs(ALL_DOMAINS[corruption_name(family, s)].picture(IMAGE_ID).astype(int) - picture)
        for s in SEVERITIES
    ]
    assert far[1].mean() > far[0].mean()


def test_a_corrupted_domain_asks_what_the_source_asks_and_recipes_do_not_list_it() -> None:
    assert ALL_DOMAINS["corrupt-fog"].questions(IMAGE_ID) == questions_of(IMAGE_ID)
    assert set(ALL_DOMAINS) == set(DOMAINS) | set(CORRUPTIONS)
    assert not set(DOMAINS) & set(CORRUPTIONS)


def test_a_missing_package_is_told_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "corrupt_tta", None)
    with pytest.raises(ConfigError, match="no-deps corrupt-tta"):
        ALL_DOMAINS["corrupt-fog"].picture(IMAGE_ID)
