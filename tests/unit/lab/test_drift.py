"""Drifts are pure functions of (seed, image id), change what they say, and keep what they must."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_lab.data.easyvqa import Part, examples, image_ids, read_picture
from driftline_lab.drift.figure import find_figure
from driftline_lab.drift.reworded import COLOURS, SHAPES, all_phrasings
from driftline_lab.drift.table import DRIFTS

PICTURE_DRIFTS = [name for name, drift in DRIFTS.items() if drift.picture is not None]


@pytest.mark.parametrize("name", PICTURE_DRIFTS)
def test_a_drift_follows_from_seed_and_picture_and_spares_its_input(name: str) -> None:
    image_id = image_ids(Part.STREAM)[3]
    picture = read_picture(image_id)
    before = picture.copy()
    first, again, other = (
        DRIFTS[name].change_picture(picture, seed=seed, image_id=image_id) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == (picture.shape, np.uint8)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, picture)


def test_texture_keeps_the_ink_of_the_figure() -> None:
    for image_id in image_ids(Part.STREAM)[:10]:
        picture = read_picture(image_id)
        figure = find_figure(picture)
        inside = figure.cover > 0.99
        drifted = DRIFTS["texture"].change_picture(picture, seed=0, image_id=image_id)
        distance = np.abs(drifted[inside] - figure.ink).max(axis=1)
        assert (distance < 20).mean() > 0.9


def test_strokes_of_a_sketch_lean_from_the_paper_to_the_ink() -> None:
    for image_id in image_ids(Part.STREAM)[:10]:
        picture = read_picture(image_id)
        figure = find_figure(picture)
        drifted = DRIFTS["sketch"].change_picture(picture, seed=0, image_id=image_id)
        paper = np.median(drifted.reshape(-1, 3), axis=0)
        axis = figure.ink - paper
        lean = ((drifted - paper) @ axis) / (axis @ axis)  # (H, W), 0 on paper, 1 is pure ink
        assert lean[figure.cover > 0.99].max() > 0.4
        assert lean[figure.cover > 0.99].mean() > lean[figure.cover < 0.01].mean() + 0.1


def test_a_figure_is_found_on_its_ground() -> None:
    picture = np.full((64, 64, 3), 240, dtype=np.uint8)
    picture[20:40, 10:30] = (200, 10, 10)
    figure = find_figure(picture)
    assert tuple(figure.ink) == (200, 10, 10)
    assert tuple(figure.ground) == (240, 240, 240)
    assert figure.cover.sum() == pytest.approx(400)
    assert find_figure(np.full_like(picture, 9)).cover.sum() == 0, "an empty picture has none"


def test_a_rewording_keeps_the_thing_asked_about() -> None:
    known = {line.replace(" an ", " a ") for line in all_phrasings()}
    for example in list(examples(Part.CALIBRATION))[:400]:
        old = example.question
        new = DRIFTS["reworded"].change_question(old, seed=0, image_id=example.image_id)
        assert new != old
        assert new.replace(" an ", " a ") in known, "a phrasing that the tokenizer has read"
        for word in (*SHAPES, *COLOURS):
            assert (word in old.split("?")[0].split()) == (word in new.rstrip("?.").split())
