"""Smaller pictures: a coarser grid of tokens, read by the same tower, on tiny random models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driftline_lab.bench.compression.downsampled import DownsampledModel, downsampled, smaller
from driftline_shared.errors import ConfigError
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_model
from driftline_shared.tokens import Grid
from tests.fakes.families import FAMILIES
from tests.unit.shared.models.compression.test_tower import class_token_llava, picture_for

QUESTION = "what shape is it?"


def model_of(name: str, folder: Path, frames: int = 1) -> Any:
    if name == "class_token":
        return class_token_llava(folder)
    fake = FAMILIES[name]
    fake.make_checkpoint(folder / name, width=32, layers=2)
    canvas = fake.CANVAS and replace(fake.CANVAS, frames=frames)
    return load_model(folder / name, prompt=fake.PROMPT, canvas=canvas)


@pytest.mark.parametrize(
    ("keep", "grid", "found"),
    [
        (0.25, Grid(rows=8, cols=8), (4, 4)),
        (0.5, Grid(rows=8, cols=8), (5, 6)),
        (0.125, Grid(rows=8, cols=8), (2, 3)),
        (0.25, Grid(frames=16, rows=4, cols=4), (2, 2)),
        (64 / 576, Grid(rows=24, cols=24), (8, 8)),
        (0.001, Grid(rows=3, cols=5), (1, 1)),
        (1.0, Grid(rows=3, cols=5), (3, 5)),
    ],
)
def test_the_grid_shrinks_about_alike_within_the_budget(
    keep: float, grid: Grid, found: tuple[int, int]
) -> None:
    rows, cols = smaller(grid, keep)
    assert sorted((rows, cols)) == sorted(found)
    assert (rows, cols) == (1, 1) or rows * cols <= keep * grid.rows * grid.cols


@pytest.mark.parametrize("name", ["llava", "class_token", "llava_onevision_video"])
def test_at_the_whole_budget_it_is_the_picture_itself(name: str, tmp_path: Path) -> None:
    model = model_of(name, tmp_path, frames=3)
    image = picture_for(model)
    small = downsampled(model, 1.0)
    assert small is not None
    tokens = small.read(image)
    assert tokens.token.tolist() == list(range(model.num_tokens))
    torch.testing.assert_close(tokens.values, model.encode([image])[0], atol=1e-5, rtol=1e-5)


def test_a_picture_of_one_colour_gives_what_its_small_one_gives(tmp_path: Path) -> None:
    """The tower's own answer at half the side, by the library's interpolated positions."""
    model = model_of("llava", tmp_path)
    image = picture_for(model)
    image[:] = 90
    small = downsampled(model, 0.25)
    assert small is not None
    tokens = small.read(image)
    rows = model.grid.rows // 2
    pixels = model.views([image])[:, :, : model.net.config.vision_config.image_size // 2]
    pixels = pixels[..., : pixels.shape[2]]
    with torch.no_grad():
        hidden = model.net.model.vision_tower(
            pixels, output_hidden_states=True, interpolate_pos_encoding=True
        ).hidden_states
    wanted = hidden[model.net.config.vision_feature_layer][0]
    torch.testing.assert_close(tokens.values, wanted[-rows * rows :], atol=1e-5, rtol=1e-5)
    # Each stands in the middle of the cells that it stands for.
    side = model.grid.cols
    at = [2 * i + 1 for i in range(rows)]
    assert tokens.token.tolist() == [row * side + col for row in at for col in at]


@pytest.mark.parametrize("name", ["llava", "llava_onevision_video"])
def test_it_answers_from_as_many_tokens(name: str, tmp_path: Path) -> None:
    model = model_of(name, tmp_path, frames=3)
    assert isinstance(model, FamilyModel)
    small = downsampled(model, 0.25)
    assert isinstance(small, DownsampledModel) and small.looks
    images = [picture_for(model, seed) for seed in (0, 1)]
    looked = small.look(images, [QUESTION] * 2)
    said = small.compressed_generate(looked.batch, 3)
    for row, seen in zip(said.rows, looked.looks, strict=True):
        np.testing.assert_array_equal(row.survivors, seen.tokens.token.numpy())
        rows, cols = smaller(model.grid, 0.25)
        assert len(row.survivors) == model.grid.frames * rows * cols
    with pytest.raises(ConfigError, match="teaching"):
        small.look(images, [QUESTION] * 2, [[5], [6]])


def test_several_views_of_one_picture_have_no_smaller_one(tmp_path: Path) -> None:
    assert downsampled(model_of("llava_onevision", tmp_path), 0.5) is None
