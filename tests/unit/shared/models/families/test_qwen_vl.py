"""Both Qwen-VL families: canvases, M-RoPE positions, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from driftline_device.runtime.scores import SCORERS, mutual_information
from driftline_device.runtime.torch.passes import TorchPasses
from driftline_shared.errors import PairError
from driftline_shared.models.families.qwen_vl import QwenVlModel
from driftline_shared.models.loading import load_model
from driftline_shared.pair.digest import token_space_digest
from driftline_shared.pair.families import ANATOMY
from driftline_shared.pair.pair import AdapterSpec, Canvas
from driftline_shared.tokens import Grid, VisualTokens
from tests.fakes.families import edited, noise, qwen2_5_vl, qwen3_vl, whole_logits

QUESTION = "what color is the circle?"


@pytest.fixture(scope="module", params=[qwen2_5_vl, qwen3_vl], ids=["2.5", "3"])
def fake(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


@pytest.fixture(scope="module")
def folder(fake: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake.make_checkpoint(tmp_path_factory.mktemp("qwen") / "it", width=32, layers=2)


@pytest.fixture(scope="module")
def model(fake: ModuleType, folder: Path) -> QwenVlModel:
    return load(fake, folder)


def load(fake: ModuleType, folder: Path, **options: Any) -> QwenVlModel:
    canvas = options.pop("canvas", fake.CANVAS)
    loaded = load_model(folder, prompt=fake.PROMPT, canvas=canvas, **options)
    assert isinstance(loaded, QwenVlModel)
    return loaded


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(32, 112), (112, 32), (64, 64)])
def test_canvases_of_any_shape_give_the_librarys_logits(fake, folder, height, width) -> None:
    model = load(fake, folder, canvas=Canvas(height=height, width=width))
    assert model.grid == Grid(rows=height // 16, cols=width // 16)
    picture = noise(height, width)
    given = fake.library_inputs(folder, picture, QUESTION)
    wanted = AutoModelForImageTextToText.from_pretrained(folder).eval()(**given).logits
    got = whole_logits(model, picture, QUESTION)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


@torch.no_grad()
def test_tokens_come_row_by_row_whatever_the_towers_windows(model) -> None:
    """What the library puts in place of the image, token by token."""
    height, width = model.grid.rows * 16, model.grid.cols * 16
    pictures = [noise(height, width, seed=seed) for seed in (1, 2)]
    given = model.processor(images=pictures, return_tensors="pt")
    wanted = model.net.model.get_image_features(
        given["pixel_values"], given["image_grid_thw"], return_dict=True
    ).pooler_output
    projected = model.project(model.encode(pictures))
    got = projected[..., : wanted[0].shape[-1]]
    torch.testing.assert_close(got, torch.stack(list(wanted)), atol=1e-5, rtol=0)


def test_text_goes_on_after_the_longer_side_of_the_grid(model) -> None:
    before, _ = model.prompt_ids(QUESTION)
    kept = torch.tensor([[0, 14]])
    inner = getattr(model.net.config.vision_config, "deepstack_visual_indexes", ())
    projected = torch.zeros(1, 2, 32 * (1 + len(inner)))
    places = model.batch(projected, kept, [QUESTION]).position_ids
    start = len(before)
    assert places.shape[0] == 3
    assert places[:, 0, start].tolist() == [start, start, start]
    # Token 14 of 3 x 5 lies in row 2, column 4; text goes on at 5, as with all fifteen tokens.
    assert places[:, 0, start + 1].tolist() == [start, start + 2, start + 4]
    assert places[:, 0, start + 2].tolist() == [start + 5] * 3


@torch.no_grad()
def test_the_order_in_which_tokens_come_changes_nothing(model) -> None:
    tokens = model.encode([noise(48, 80)])
    kept = torch.tensor([[3, 5, 6, 11, 14]])
    mixed = kept[:, [4, 0, 3, 1, 2]]
    logits = [
        model.forward(model.batch(model.project(tokens[:, order[0]]), order, [QUESTION])).logits
        for order in (kept, mixed)
    ]
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_positions_the_library_left_behind_are_not_read(fake, folder) -> None:
    model = load(fake, folder)
    kept = torch.tensor([[1, 7, 9]])
    projected = model.project(model.encode([noise(48, 80)])[:, kept[0]])

    def answer() -> Any:
        return model.generate(model.batch(projected, kept, [QUESTION]), 4)

    before = answer()
    assert model.net.model.rope_deltas is None, "our path leaves nothing behind either"
    model.net.model.rope_deltas = torch.tensor([[1000]])
    after = answer()
    assert after.tokens == before.tokens
    np.testing.assert_array_equal(after.entropy, before.entropy)


def test_without_a_canvas_the_default_is_brought_to_what_the_processor_keeps(fake, folder) -> None:
    model = load(fake, folder, canvas=None)
    # 448 x 448 has 784 groups of 16 x 16 pixels, this processor lets 64 through.
    assert model.grid == Grid(rows=8, cols=8)
    assert model.encode([noise(30, 50)]).shape[:2] == (1, 64)


@pytest.mark.parametrize(
    ("canvas", "nearest"),
    [
        (Canvas(height=50, width=80), (48, 80)),
        (Canvas(height=16, width=16), (32, 32)),
        (Canvas(height=256, width=256), (128, 128)),
    ],
    ids=["no multiple", "too small", "too large"],
)
def test_a_canvas_the_processor_would_resize_is_refused(fake, folder, canvas, nearest) -> None:
    height, width = nearest
    with pytest.raises(PairError, match=rf"height = {height}, width = {width} "):
        load(fake, folder, canvas=canvas)
    model = load(fake, folder, canvas=Canvas(height=height, width=width))
    assert model.num_tokens == height * width // 256


def test_clips_and_slivers_are_refused(fake, folder) -> None:
    with pytest.raises(PairError, match="frames = 1"):
        load(fake, folder, canvas=Canvas(height=48, width=80, frames=4))
    with pytest.raises(PairError, match="16 x 4096"):
        load(fake, folder, canvas=Canvas(height=16, width=4096))


def test_a_processor_of_another_checkpoint_is_refused(fake, folder, tmp_path) -> None:
    other = edited(folder, tmp_path / "other", "preprocessor_config.json", patch_size=16)
    with pytest.raises(PairError, match="patch_size is 16, the tower's is 8"):
        load(fake, other)


def test_what_the_config_makes_of_the_tower_is_part_of_the_token_space(
    fake, folder, tmp_path
) -> None:
    key, value = {
        "qwen2_5_vl": ("window_size", 48),
        "qwen3_vl": ("deepstack_visual_indexes", [0, 2]),
    }[fake.MODEL_TYPE]
    tower = json.loads((folder / "config.json").read_text())["vision_config"] | {key: value}
    other = edited(folder, tmp_path / "other", "config.json", vision_config=tower)
    assert token_space_digest(other) != token_space_digest(folder)


def test_every_score_of_doubt_can_be_computed(fake, folder) -> None:
    spec = AdapterSpec(rank=2, query_targets=ANATOMY[fake.MODEL_TYPE].query_targets)
    model = load(fake, folder, adapter=spec)
    tokens = model.encode([noise(48, 80)])[0]
    with torch.no_grad():
        passes = TorchPasses(
            model=model,
            tokens=VisualTokens(
                values=tokens.numpy(), positions=np.arange(15, dtype=np.int32), grid=model.grid
            ),
            question=QUESTION,
            ids=model.answer_ids("no"),
            num_passes=3,
            rate=0.2,
            seed=0,
        )
        for scorer in SCORERS.values():
            scores = scorer(passes)
            assert scores.shape == (15,)
            assert np.isfinite(scores).all() and scores.std() > 0
        assert mutual_information(passes) > 0
