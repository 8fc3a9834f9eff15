"""What export.json says of pictures is bit by bit what transformers' processors do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from tokenizers import Tokenizer, processors
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from driftline_shared.errors import DataError, PairError
from driftline_shared.models.export.preparation import (
    device_tokenizer,
    image_table,
    layout_table,
    one_view_steps,
    prompt_table,
)
from driftline_shared.models.families.llava import LlavaModel
from driftline_shared.models.families.pictures import on_canvas
from driftline_shared.models.loading import load_model
from driftline_shared.pair.image_steps import pixels_of
from driftline_shared.pair.image_table import ImageTable
from driftline_shared.pair.pair import Canvas, Pair

PROCESSORS: dict[str, Any] = {
    "square": lambda: SiglipImageProcessorPil(size={"height": 32, "width": 24}),
    "crop": lambda: CLIPImageProcessorPil(
        size={"shortest_edge": 40}, crop_size={"height": 48, "width": 32}
    ),
}


@pytest.fixture(scope="module")
def model(pair: Pair) -> LlavaModel:
    loaded = load_model(pair.student_dir, prompt=pair.prompt)
    assert isinstance(loaded, LlavaModel)
    return loaded


def read_by(processor: Any, canvas: Canvas | None) -> Callable[[NDArray[np.uint8]], Any]:
    def processed(image: NDArray[np.uint8]) -> Any:
        found = processor(images=on_canvas(image, canvas), return_tensors="np")
        return found["pixel_values"][0]

    return processed


def test_a_clip_is_prepared_frame_by_frame_and_has_its_length() -> None:
    steps = [
        {"step": "frames", "num": 3},
        {"step": "resize", "height": 8, "width": 8, "resample": 3},
    ]
    clip = np.random.default_rng(0).integers(0, 256, (3, 20, 12, 3), dtype=np.uint8)
    each, clips = (
        ImageTable.model_validate_json(json.dumps({"height": 8, "width": 8, "steps": some}))
        for some in (steps[1:], steps)
    )
    wanted = np.stack([pixels_of(frame, each) for frame in clip])
    np.testing.assert_array_equal(pixels_of(clip, clips), wanted)
    with pytest.raises(DataError, match="clips of 3 pictures and was given a single picture: ask"):
        pixels_of(clip[0], clips)
    with pytest.raises(DataError, match="single pictures and was given a clip of 3 pictures: give"):
        pixels_of(clip, each)


def test_the_frames_of_a_clip_come_first_and_are_bounded() -> None:
    size = {"step": "resize", "height": 8_192, "width": 8_192, "resample": 3}
    frames = {"step": "frames", "num": 2}
    for steps, wrong in (([size, frames], "first of all"), ([frames, size], "more than")):
        table = {"height": 8_192, "width": 8_192, "steps": steps}
        with pytest.raises(ValueError, match=wrong):
            ImageTable.model_validate_json(json.dumps(table))


@pytest.mark.parametrize("canvas", [None, Canvas(height=50, width=60)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_the_processors(name: str, canvas: Canvas | None) -> None:
    processor = PROCESSORS[name]()
    table = image_table(one_view_steps(processor, canvas), read_by(processor, canvas))
    picture = np.random.default_rng(5).integers(0, 256, (71, 130, 3), dtype=np.uint8)
    pixels = pixels_of(picture, table)
    assert pixels.dtype == np.float32
    assert pixels.shape == (3, table.height, table.width)
    if canvas is None:
        exact = processor(images=[picture], return_tensors="np")["pixel_values"][0]
        assert np.array_equal(pixels, exact)


def _resize(height: int, width: int) -> dict[str, Any]:
    return {"step": "resize", "height": height, "width": width, "resample": 3}


def _tiles(**changed: int) -> dict[str, Any]:
    sizes = {"height": 32, "width": 48, "rows": 2, "cols": 3, "side": 16, "resample": 3}
    return {"step": "tiles", **sizes, **changed}


_SPLIT = {"step": "split", "side": 16, "resample": 3}


@pytest.mark.parametrize(
    "steps",
    [
        [_tiles(side=8_192)],
        [_tiles(rows=8_192)],
        [_tiles(height=33)],
        [_SPLIT],
        [_resize(32, 40), _SPLIT],
        [_resize(32, 32), _SPLIT, _resize(16, 16)],
        [_resize(32, 32), _SPLIT, _SPLIT],
        [_resize(32, 32)],
    ],
)
def test_steps_that_lead_nowhere_are_refused_before_a_picture_is(
    steps: list[dict[str, Any]],
) -> None:
    table = {"height": 16, "width": 16, "steps": steps}
    with pytest.raises(ValidationError):
        ImageTable.model_validate_json(json.dumps(table))


def test_views_are_cut_row_by_row() -> None:
    picture = np.arange(32 * 48 * 3, dtype=np.uint32).reshape(32, 48, 3).astype(np.uint8)
    steps = [_resize(32, 48), _SPLIT]
    table = {"height": 16, "width": 16, "steps": steps}
    views = pixels_of(picture, ImageTable.model_validate_json(json.dumps(table)))
    assert views.shape == (7, 3, 16, 16)
    assert np.array_equal(views[4].transpose(1, 2, 0), picture[16:, 16:32])
    tiled = {**table, "steps": [_tiles(height=30, width=48)]}
    views = pixels_of(picture, ImageTable.model_validate_json(json.dumps(tiled)))
    assert views.shape == (7, 3, 16, 16)
    assert not views[1][:, 0].any() and not views[6][:, -1].any(), "a row of padding on both sides"


def test_a_processor_that_does_more_is_refused() -> None:
    class Mirrored(SiglipImageProcessorPil):
        def normalize(self, image: Any, mean: Any, std: Any, **rest: Any) -> Any:
            return super().normalize(image, mean, std, **rest)[:, :, ::-1]

    with pytest.raises(PairError, match=r"runtime = \"torch\""):
        mirrored = Mirrored(size={"height": 32, "width": 32})
        image_table(one_view_steps(mirrored, None), read_by(mirrored, None))


def test_the_prompt_is_read_alike_without_transformers(
    model: LlavaModel, pair: Pair, tmp_path: Path
) -> None:
    tokenizer = device_tokenizer(model, tmp_path / "tokenizer.json")
    table = prompt_table(model, pair.prompt, tokenizer)
    assert table.add_special_tokens is False, "the prompt begins with <s>"
    question = "is it red?"
    before, after = model.prompt_ids(question)
    text = table.template.replace("<image>", table.image_token).replace("{question}", question)
    ids = tokenizer.encode(text, add_special_tokens=table.add_special_tokens).ids
    assert ids == [*before, table.image_id, *after]
    spoken = table.answer_start + "teal"
    ids = tokenizer.encode(spoken, add_special_tokens=False).ids
    assert [*ids, table.end_ids[0]] == model.answer_ids("teal")


def test_a_tokenizer_that_reads_otherwise_is_refused(model: LlavaModel, pair: Pair) -> None:
    other = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    other.add_tokens(["red?"])
    other.post_processor = processors.ByteLevel(trim_offsets=False)
    with pytest.raises(PairError, match=r"reads .* otherwise"):
        prompt_table(model, pair.prompt.replace("{question}", "red? {question}"), other)


def test_the_layout_holds_every_visual_token(model: LlavaModel) -> None:
    table = layout_table(model)
    assert table.visual == tuple(range(model.num_tokens))
    assert table.span == model.num_tokens
