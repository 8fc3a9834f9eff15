"""The recipe trains what the loader reads, goes on where it stopped, and ships what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from driftline_lab.data.tiny_video.clips import NUM_FRAMES, Part, clips, read_clip
from driftline_lab.data.tiny_video.drawing import NOBODY
from driftline_lab.data.tiny_video.questions import Kind
from driftline_lab.drift.reworded import COLOURS
from driftline_lab.recipes.stages import open_stages
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.tower import encode, normalize_pixels
from driftline_lab.recipes.tiny.training import LanguagePlan
from driftline_lab.recipes.tiny_video.build import build_tiny_video
from driftline_lab.recipes.tiny_video.clip_cache import CachedClips, cache_clips
from driftline_lab.recipes.tiny_video.evaluation import ALL, accuracy
from driftline_lab.recipes.tiny_video.labels import (
    IGNORE,
    NO_COLOUR,
    cell_labels,
    owners_of,
)
from driftline_lab.recipes.tiny_video.model import (
    CANVAS,
    CELLS,
    PROMPT,
    build_model,
    shipped_folder,
    train_tokenizer,
)
from driftline_lab.recipes.tiny_video.tower import tower_of_tiny
from driftline_lab.recipes.tiny_video.training import Stage, read_rows, rows_of, train_language
from driftline_shared.models.families.llava_onevision import LlavaOnevisionModel
from driftline_shared.models.loading import load_model
from driftline_shared.tokens import Grid


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of two steps a stage."""
    folder = tmp_path_factory.mktemp("tiny-video")
    threads, console = torch.get_num_threads(), Console(quiet=True)
    with open_stages(None, seed=0, share=1e-6, num_threads=threads, console=console) as stages:
        build_tiny_video(folder, stages)
    return folder


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> CachedClips:
    folder = tmp_path_factory.mktemp("clips")
    return cache_clips(folder, tower_of_tiny(), Part.TRAIN, 3, lambda done: None)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(tokenizer=train_tokenizer())


@pytest.mark.slow
def test_a_trial_build_loads_and_answers(trial: Path) -> None:
    model = load_model(trial, prompt=PROMPT, canvas=CANVAS)
    assert model.grid == Grid(frames=NUM_FRAMES, rows=CELLS, cols=CELLS)
    clip = read_clip(Part.TEST, 0)
    seen = model.project(model.encode([clip.frames]))
    batch = model.batch(seen, torch.arange(model.num_tokens)[None], [clip.questions[0].text])
    assert len(model.generate(batch, 2).tokens[0]) in (1, 2)
    assert "| blind |" in (trial / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_training_reads_a_clip_as_the_loader_does(trial: Path, encoder: Encoder) -> None:
    model = load_model(trial, prompt=PROMPT, canvas=CANVAS)
    assert isinstance(model, LlavaOnevisionModel)
    clip = read_clip(Part.TEST, 1)
    raw = encode(model.net.model.vision_tower, normalize_pixels(clip.frames)).detach().numpy()
    alone = CachedClips(tokens=raw[None], labels={}, questions=[clip.questions])
    seen = model.project(model.encode([clip.frames]))
    for question in clip.questions:
        segment = encoder.segment(question.text, question.answer)
        answer = model.answer_ids(question.answer)
        batch = model.batch(seen, torch.arange(model.num_tokens)[None], [question.text], [answer])
        rows = rows_of(alone, [0], [[segment]], encoder)
        with torch.inference_mode():
            ours, _ = read_rows(model.net, rows)
            theirs = model.forward(batch).hidden
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        assert torch.equal(rows.packed.position_ids, batch.position_ids)


def test_training_goes_on_where_it_was_stopped(
    cached: CachedClips, encoder: Encoder, tmp_path: Path
) -> None:
    plan = LanguagePlan(
        num_steps=4,
        learning_rate=1e-3,
        pictures_per_step=2,
        questions_per_picture=2,
        warmup_steps=1,
    )
    stages = (
        Stage(clips=cached.through(slice(None, None, 4)), stop=3),
        Stage(clips=cached.through(slice(0, 3)), stop=4, least_kept=0.3),
    )

    def weights(checkpoint: Path, stop: int | None) -> dict[str, torch.Tensor]:
        model = build_model(encoder.tokenizer, tower_of_tiny(), seed=1)

        def report(step: int, loss: float) -> None:
            if step == stop:
                raise InterruptedError

        train_language(model, stages, plan, encoder, report, checkpoint, checkpoint_steps=2)
        return dict(model.state_dict())

    straight = weights(tmp_path / "straight.safetensors", None)
    with pytest.raises(InterruptedError):
        weights(tmp_path / "stopped.safetensors", 2)
    resumed = weights(tmp_path / "stopped.safetensors", None)
    for name, value in straight.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_fewer_frames_leave_out_what_they_would_answer_otherwise(cached: CachedClips) -> None:
    fewer = cached.through(slice(0, NUM_FRAMES // 2))
    assert fewer.num_frames == NUM_FRAMES // 2
    now = cached.labels["now"]
    for index, questions in enumerate(fewer.questions):
        same = now[index, NUM_FRAMES // 2 - 1] == now[index, -1]
        left = set(cached.questions[index]) - set(questions)
        assert len(left) == (0 if same else 1)
        assert all(question.text.endswith("at the end?") for question in left)


def test_labels_say_what_the_scene_has() -> None:
    for index in range(10):
        clip = read_clip(Part.TRAIN, index)
        owner, labels = owners_of(clip, CELLS), cell_labels(clip, CELLS)
        assert labels["so_far"][-1] == len(clip.scene.actors)
        for frame, cell in np.ndindex(owner.shape):
            told = {name: int(rows[frame, cell]) for name, rows in labels.items() if rows.ndim > 1}
            if owner[frame, cell] == NOBODY:
                assert told["colour"] == NO_COLOUR
                assert told["direction"] == told["rank"] == told["earlier"] == IGNORE
                continue
            actor = clip.scene.actors[owner[frame, cell]]
            assert COLOURS[told["colour"]] == actor.colour(frame)
            changed = frame >= min(actor.turns, default=NUM_FRAMES)
            assert (told["earlier"] != NO_COLOUR) == changed
            assert (told["rank"] > 0) == actor.comes


def test_the_shipped_model_answers_held_out_clips(encoder: Encoder) -> None:
    asked = [example for example in clips(Part.TEST, 90) if example.index < 12]
    found = accuracy(load_model(shipped_folder(), prompt=PROMPT, canvas=CANVAS), asked)
    assert found[ALL] >= 0.9
    assert all(found[kind] >= 0.75 for kind in Kind)


def test_the_shipped_model_is_small() -> None:
    size = sum(file.stat().st_size for file in shipped_folder().iterdir())
    assert size < 6_100_000
