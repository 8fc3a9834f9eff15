"""What only LLaVA-OneVision has: tiles without their padding, newlines, and pooled clips."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText

from driftline_shared.codec.tokens import decode_tokens, encode_tokens
from driftline_shared.errors import DataError, PairError
from driftline_shared.models.families.base import LEARNED
from driftline_shared.models.families.llava_onevision import LlavaOnevisionModel
from driftline_shared.models.families.onevision_frames import frame_processor
from driftline_shared.models.fit.grids import token_grid
from driftline_shared.models.loading import load_model
from driftline_shared.pair.pair import Canvas
from driftline_shared.tokens import Grid, TokenSpace, VisualTokens
from tests.fakes.families import canvas_noise, edited, llava_onevision, whole_logits
from tests.fakes.families.llava_onevision import PROMPT, SIDE, SIZE
from tests.fakes.tiny_pair import QUESTIONS

CLIP = Canvas(height=SIZE, width=SIZE, frames=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("onevision") / "it"
    return llava_onevision.make_checkpoint(place, width=32, layers=1)


def loaded(folder: Path, canvas: Canvas | None = None) -> LlavaOnevisionModel:
    model = load_model(folder, prompt=PROMPT, canvas=canvas)
    assert isinstance(model, LlavaOnevisionModel)
    return model


@torch.no_grad()
@pytest.mark.parametrize(
    ("height", "width", "tokens"),
    [
        (20, 20, 25 + 25),
        (40, 40, 25 + 100),
        (20, 40, 25 + 50),
        (17, 40, 25 + 50),
        (53, 20, 25 + 13 * 5),
        (60, 28, 25 + 15 * 8),
        (9, 77, 25 + 3 * 20),
    ],
)
def test_canvases_of_every_shape_are_read_as_the_library_does(
    folder: Path, height: int, width: int, tokens: int
) -> None:
    canvas = Canvas(height=height, width=width)
    model, image = loaded(folder, canvas), canvas_noise(canvas)
    assert model.grid == Grid(rows=1, cols=tokens)
    library = AutoModelForImageTextToText.from_pretrained(folder).eval()
    wanted = library(**llava_onevision.library_inputs(folder, image, QUESTIONS[0])).logits
    got = whole_logits(model, image, QUESTIONS[0])
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


def test_without_a_canvas_a_picture_is_the_square_that_the_tower_reads(folder: Path) -> None:
    model = loaded(folder)
    assert model.num_tokens == 2 * SIDE**2
    assert model.encode([canvas_noise(Canvas(height=31, width=50))]).shape == (1, 2 * SIDE**2, 32)


def test_a_newline_lies_behind_each_row_of_the_tiles(folder: Path) -> None:
    layout = loaded(folder, Canvas(height=SIZE, width=2 * SIZE)).layout()
    places = (layout.visual == LEARNED).nonzero()[:, 0].tolist()
    assert places == [25 + 10 + 11 * row for row in range(SIDE)]
    assert layout.span == 25 + SIDE * 11
    visual = layout.visual[layout.visual != LEARNED]
    assert torch.equal(visual, torch.arange(75)), "the base view first, then row by row"


def test_what_is_refused_is_what_the_library_pools(folder: Path) -> None:
    processor = llava_onevision.library_processor(folder)
    refused = []
    for height, width in np.random.default_rng(5).integers(8, 100, (12, 2)).tolist():
        counts = []
        for limit in (llava_onevision.LIMIT, 999):
            processor.vision_aspect_ratio = f"anyres_max_{limit}"
            counts.append(processor._get_number_of_features(height, width, SIZE, SIZE))
        try:
            token_grid(folder, Canvas(height=height, width=width))
            refused.append(False)
        except PairError:
            refused.append(True)
        assert refused[-1] == (counts[0] != counts[1]), (height, width)
    assert len(set(refused)) == 2


@pytest.mark.parametrize(
    ("asked", "fits"), [((80, 80), (40, 40)), ((60, 80), (30, 40)), ((400, 800), (30, 60))]
)
def test_too_large_a_picture_is_told_the_largest_that_is_not(
    folder: Path, asked: tuple[int, int], fits: tuple[int, int]
) -> None:
    with pytest.raises(PairError, match=f"{asked[0]} x {asked[1]} pixels .*does not pool") as found:
        token_grid(folder, Canvas(height=asked[0], width=asked[1]))
    assert f"{fits[0]} x {fits[1]} pixels: set" in str(found.value)
    assert token_grid(folder, Canvas(height=fits[0], width=fits[1])).num_tokens > 25
    longer = max(fits) + 1
    more = Canvas(height=asked[0] * longer // max(asked), width=asked[1] * longer // max(asked))
    with pytest.raises(PairError, match="pools its tokens"):
        token_grid(folder, more)


def test_a_checkpoint_that_does_not_cut_tiles_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = edited(folder, tmp_path / "copy", "config.json", vision_aspect_ratio="square")
    with pytest.raises(PairError, match="vision_aspect_ratio is anyres_max_N, not 'square'"):
        token_grid(copy, None)


@pytest.mark.parametrize(
    ("canvas", "changes"),
    [
        (Canvas(height=40, width=40), {"image_grid_pinpoints": [[20, 20]]}),
        (Canvas(height=20, width=20), {"size": {"height": 24, "width": 24}}),
        (CLIP, {"size": {"height": 24, "width": 24}}),
    ],
)
def test_a_processor_of_another_size_than_the_model_is_refused(
    folder: Path, tmp_path: Path, canvas: Canvas, changes: dict[str, Any]
) -> None:
    copy = edited(folder, tmp_path / "copy", "preprocessor_config.json", **changes)
    with pytest.raises(PairError, match="give both the same size and image_grid_pinpoints"):
        token_grid(copy, canvas)


@pytest.mark.parametrize("side", [4, 27])
@torch.no_grad()
def test_cells_of_a_clip_are_the_librarys(tmp_path: Path, side: int) -> None:
    """27 patches a side are those of the released checkpoints: each cell has other weights."""
    folder = llava_onevision.make_checkpoint(tmp_path / "it", width=32, layers=1, side=side)
    canvas = Canvas(height=30, width=50, frames=2)
    model, clip = loaded(folder, canvas), canvas_noise(canvas)
    cells = -(-side // 2)
    assert model.grid == Grid(frames=2, rows=cells, cols=cells)
    tokens = model.encode([clip])
    assert tokens.shape == (1, 2 * cells**2, 4 * 32 + 2)
    library = AutoModelForImageTextToText.from_pretrained(folder).eval()
    pixels = model.views([clip])[None]
    wanted = library.get_video_features(pixels).pooler_output[0, :-1]
    torch.testing.assert_close(model.project(tokens)[0], wanted, atol=1e-5, rtol=0)
    kept = torch.randperm(model.num_tokens, generator=torch.Generator().manual_seed(0))[:5]
    torch.testing.assert_close(model.project(tokens[:, kept])[0], wanted[kept], atol=1e-5, rtol=0)


@pytest.mark.parametrize("codec", ["int8", "int4"])
@torch.no_grad()
def test_a_coded_clip_is_pooled_by_the_same_weights(tmp_path: Path, codec: str) -> None:
    folder = llava_onevision.make_checkpoint(tmp_path / "it", width=32, layers=1, side=27)
    canvas = Canvas(height=108, width=108, frames=2)
    model = loaded(folder, canvas)
    values = model.encode([canvas_noise(canvas)])[0].numpy()
    space = TokenSpace(
        digest="",
        grid=model.grid,
        low=values.min(axis=0),
        high=values.max(axis=0),
        mean=values.mean(axis=0),
        precision=np.eye(values.shape[1], dtype=np.float32),
    )
    whole = VisualTokens(
        values=values, positions=np.arange(len(values), dtype=np.int32), grid=model.grid
    )
    coded = decode_tokens(encode_tokens(whole, space, codec), space).values
    exact = coded.copy()
    exact[:, -2:] = values[:, -2:]
    assert codec == "int8" or not np.array_equal(exact, coded), "int4 rounds the centres"
    got, wanted = (model.project(torch.from_numpy(each)[None]) for each in (coded, exact))
    assert torch.equal(got, wanted)


def test_a_clip_stands_at_the_video_token_and_ends_with_one_newline(folder: Path) -> None:
    model = loaded(folder, CLIP)
    assert model.tokenizer.convert_ids_to_tokens(model.image_id) == "<video>"
    layout = model.layout()
    assert layout.visual.tolist() == [*range(27), LEARNED]
    assert layout.span == 28


@pytest.mark.parametrize("canvas", [None, CLIP])
def test_another_number_of_frames_is_refused(folder: Path, canvas: Canvas | None) -> None:
    model = loaded(folder, canvas)
    with pytest.raises(DataError, match=r"this pair reads .* and was given a clip of 2 pictures"):
        model.encode([np.zeros((2, SIZE, SIZE, 3), dtype=np.uint8)])


def test_frames_are_prepared_as_the_video_settings_say(folder: Path, tmp_path: Path) -> None:
    images = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    assert tuple(frame_processor(folder, images).image_mean) == tuple(images.image_mean)
    own = edited(
        folder, tmp_path / "copy", "video_preprocessor_config.json", image_mean=[0.5, 0.5, 0.5]
    )
    found = frame_processor(own, images)
    assert tuple(found.image_mean) == (0.5, 0.5, 0.5)
    assert tuple(found.image_std) == tuple(images.image_std)
    nested = {"video_processor": {"image_mean": [0.25, 0.25, 0.25]}}
    (own / "processor_config.json").write_text(json.dumps(nested))
    assert tuple(frame_processor(own, images).image_mean) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("text", ["{", "[]", '"' + "x" * (1 << 20) + '"'])
def test_video_settings_that_cannot_be_read_are_refused(
    folder: Path, tmp_path: Path, text: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "video_preprocessor_config.json").write_text(text)
    with pytest.raises(PairError, match=r"video_preprocessor_config\.json"):
        loaded(copy, CLIP)
