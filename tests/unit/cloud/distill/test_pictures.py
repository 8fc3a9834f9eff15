"""A teacher with a tower of its own answers from the picture that came up, nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from driftline_cloud.distill import passes, pictures, teacher
from driftline_cloud.distill.examples import from_samples
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_shared.callbacks import ignore
from driftline_shared.codec.regions import RegionSettings
from driftline_shared.codec.tokens import check_tokens
from driftline_shared.errors import SampleError
from driftline_shared.tokens import Grid, RegionLayout, Sample
from tests.fakes.pair_samples import make_samples
from tests.fakes.pictures import draw_picture, with_regions

SETTINGS = DistilSettings(threads=1, label_batch_size=3)
SMALL = RegionSettings(thumbnail_side=8, quality=95)


def pictured_samples(models: Models, count: int, *, kept: int = 4) -> list[Sample]:
    return [
        with_regions(sample, draw_picture(number, 96, 96), SMALL)
        for number, sample in enumerate(make_samples(models.pair, count, kept=kept, seed=2))
    ]


class Unasked:
    """A model that must not be run."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"asked for {name}")


def test_a_view_is_the_picture_with_its_cells(models: Models) -> None:
    [sample] = pictured_samples(models, 1)
    assert sample.regions is not None and sample.regions.layout is RegionLayout.MOSAIC
    space = models.pair.token_space
    kept = check_tokens(sample.tokens, space)
    view = pictures.teacher_view(sample, kept, space.grid)
    error = np.abs(view.astype(int) - draw_picture(0, 96, 96)).mean(axis=-1)
    # (4, 4) mean error of each cell
    cells = error.reshape(4, 24, 4, 24).mean(axis=(1, 3)).reshape(-1)
    assert cells[kept].mean() < 0.5 * np.delete(cells, kept).mean()


def test_a_view_needs_regions_and_their_grid(models: Models) -> None:
    [sample] = pictured_samples(models, 1)
    kept = check_tokens(sample.tokens, models.pair.token_space)
    with pytest.raises(SampleError, match="no regions"):
        pictures.teacher_view(replace(sample, regions=None), kept, models.pair.token_space.grid)
    with pytest.raises(SampleError, match="not on"):
        pictures.teacher_view(sample, kept, Grid(rows=2, cols=8))


def test_the_own_tower_sees_the_view_with_all_its_tokens(models: Models) -> None:
    samples = pictured_samples(models, 2)
    space = models.pair.token_space
    examples = [replace(one, answer=(5, 2)) for one in from_samples(samples, space)]
    found = pictures.with_own_tokens(models.teacher, samples, examples, space.grid)
    for one, example, sample in zip(found, examples, samples, strict=True):
        view = pictures.teacher_view(sample, example.positions, space.grid)
        tokens = models.teacher.encode([view])[0].numpy()
        np.testing.assert_allclose(one.values, tokens, atol=1e-5)
        assert one.positions.tolist() == list(range(models.teacher.num_tokens))
        assert (one.question, one.answer) == (example.question, example.answer)
    assert pictures.with_own_tokens(models.teacher, [], [], space.grid) == []


def test_labels_come_from_pictures_where_there_are_any(models: Models) -> None:
    plain = make_samples(models.pair, 4, seed=1)
    samples = [plain[0], *pictured_samples(models, 4), *plain[1:]]
    grid = models.pair.token_space.grid
    shares: list[float] = []
    with capture_logs() as logs:
        labels = teacher.label(
            models.teacher, models.pair, samples, SETTINGS, shares.append, own=models.teacher
        )
    assert [label.sample_id for label in labels] == [sample.id for sample in samples]
    assert shares == sorted(shares) and shares[-1] == 1.0
    for sample, label in zip(samples, labels, strict=True):
        [example] = from_samples([sample], models.pair.token_space)
        if sample.regions is not None:
            [example] = pictures.with_own_tokens(models.teacher, [sample], [example], grid)
        said = models.teacher.generate(passes.prompt(models.teacher, [example]), 4)
        assert list(label.tokens) == said.tokens[0]
    (told,) = logs
    assert (told["event"], told["num_samples"]) == ("labels.from_regions", 4)
    assert "pictures" in told["note"]


def test_who_reads_what(models: Models) -> None:
    """Pictures are read by the teacher's own tower alone, tokens by what translates them."""
    pictured, plain = pictured_samples(models, 2), make_samples(models.pair, 2)
    unasked: Any = Unasked()
    by_own = teacher.label(unasked, models.pair, pictured, SETTINGS, ignore, own=models.teacher)
    by_tokens = teacher.label(models.teacher, models.pair, plain, SETTINGS, ignore, own=unasked)
    assert (len(by_own), len(by_tokens)) == (2, 2)


def test_a_shared_tower_reads_tokens_and_says_that_pictures_came_in_vain(models: Models) -> None:
    samples = pictured_samples(models, 3)
    bare = [replace(sample, regions=None) for sample in samples]
    with capture_logs() as logs:
        labels = teacher.label(models.teacher, models.pair, samples, SETTINGS, ignore)
    assert labels == teacher.label(models.teacher, models.pair, bare, SETTINGS, ignore)
    assert [(log["event"], log["num_samples"]) for log in logs] == [
        ("labels.regions_not_needed", 3)
    ]


def test_labels_of_a_picture_follow_the_picture(models: Models) -> None:
    """The same tokens, another picture: what the teacher is asked about is the picture."""
    space = models.pair.token_space
    [sample] = make_samples(models.pair, 1, kept=4)
    [example] = from_samples([sample], space)
    logits = []
    for seed in (0, 1):
        pictured = with_regions(sample, draw_picture(seed, 96, 96), SMALL)
        seen = pictures.with_own_tokens(models.teacher, [pictured], [example], space.grid)
        answered = [replace(seen[0], answer=(5, 2))]
        with torch.no_grad():
            logits.append(passes.run(models.teacher, answered).logits)
    assert not torch.allclose(logits[0], logits[1], atol=1e-4)
