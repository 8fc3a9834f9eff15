"""What only Idefics3 and SmolVLM have: tiles and the text between them, pixel-shuffled groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from driftline_shared.errors import PairError
from driftline_shared.models.families.base import TEXT
from driftline_shared.models.families.idefics3 import Idefics3Model
from driftline_shared.models.fit.grids import token_grid
from driftline_shared.models.loading import load_model
from driftline_shared.pair.pair import Canvas, token_space_digest
from driftline_shared.tokens import Grid
from tests.fakes.families import edited, idefics3, noise, smolvlm, whole_logits
from tests.fakes.families.idefics3 import EDGE, PATCH, PROMPT, SCALE, TILE, VIEW_TOKENS
from tests.fakes.tiny_pair import QUESTIONS

SQUARE = Canvas(height=EDGE, width=EDGE)
# An EDGE of 3 tiles: canvases of other shapes than those of the fakes.
THREE = {"size": {"longest_edge": 3 * TILE}}
WHOLE = {"do_image_splitting": False}
RAW = {"do_normalize": False}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("idefics3")
    return {
        fake.MODEL_TYPE: fake.make_checkpoint(root / fake.MODEL_TYPE, width=32, layers=1)
        for fake in (idefics3, smolvlm)
    }


@pytest.fixture(scope="module")
def folder(folders: dict[str, Path]) -> Path:
    return folders["idefics3"]


def prepared(folder: Path, place: Path, **changes: Any) -> Path:
    """A copy of the checkpoint that prepares images otherwise."""
    return edited(folder, place / "copy", "preprocessor_config.json", **changes)


def loaded(folder: Path, canvas: Canvas | None = None) -> Idefics3Model:
    model = load_model(folder, prompt=PROMPT, canvas=canvas)
    assert isinstance(model, Idefics3Model)
    return model


@pytest.mark.parametrize("kind", ["idefics3", "smolvlm"])
@pytest.mark.parametrize(
    ("canvas", "read_at", "changes", "views"),
    [
        (Canvas(height=TILE, width=EDGE), (TILE, EDGE), {}, 3),
        (Canvas(height=EDGE, width=TILE), (EDGE, TILE), {}, 3),
        (Canvas(height=20, width=30), (20, 30), THREE, 7),
        (Canvas(height=10, width=50), (10, 50), THREE, 4),
        (Canvas(height=20, width=50), (20, 50), WHOLE, 1),
        (None, (EDGE, EDGE), {}, 5),
        (None, (3 * TILE, 3 * TILE), THREE, 10),
        (None, (TILE, TILE), WHOLE, 1),
        (None, (TILE, TILE), {"do_resize": False}, 1),
        (None, (TILE, EDGE), {"size": {"height": TILE, "width": EDGE}}, 3),
    ],
)
def test_the_layout_is_the_processors_text(
    folders, tmp_path, kind: str, canvas: Canvas | None, read_at: Any, changes: Any, views: int
) -> None:
    copy = prepared(folders[kind], tmp_path, **changes)
    model = loaded(copy, canvas)
    assert model.grid == Grid(frames=views, rows=2, cols=2) == token_grid(copy, canvas)
    layout, picture = model.layout(), noise(*read_at)
    read = idefics3.library_processor(copy)(
        images=[[picture]], text=["<image>"], return_tensors="pt"
    )
    own = model._read([picture])["pixel_values"]
    assert torch.equal(own, read["pixel_values"]), "the canvas changed nothing"
    ids = torch.where(layout.visual == TEXT, layout.ids, model.image_id)
    assert ids.tolist() == read["input_ids"][0].tolist()
    kept = layout.visual[layout.visual != TEXT]
    assert kept.tolist() == list(range(model.num_tokens))
    # Why the tower needs no mask: no view of any canvas is padded.
    assert read["pixel_values"].shape[1] == views
    assert bool(read["pixel_attention_mask"].all())


def test_tags_are_text_where_the_tokenizer_has_no_token_for_them(folders) -> None:
    """The two fakes read one text; only the number of places differs."""
    plain, tagged = (loaded(path, SQUARE) for path in folders.values())
    texts = []
    for model in (plain, tagged):
        layout = model.layout()
        ids = torch.where(layout.visual == TEXT, layout.ids, model.image_id)
        texts.append(model.tokenizer.decode(ids))
    assert texts[0] == texts[1]
    assert texts[0].count("<global-img>") == 1
    assert texts[0].index("<row_2_col_2>") < texts[0].index("<global-img>")
    assert plain.layout().span > tagged.layout().span


@torch.no_grad()
def test_tiles_come_row_by_row_and_the_whole_picture_last(folder, tmp_path) -> None:
    model, picture = loaded(folder, SQUARE), noise(EDGE, EDGE)
    views = model.encode([picture])[0].reshape(5, VIEW_TOKENS, -1)
    whole = loaded(prepared(folder, tmp_path, **WHOLE), SQUARE)
    torch.testing.assert_close(views[4], whole.encode([picture])[0], atol=1e-5, rtol=0)
    for number in range(4):
        row, col = divmod(number, 2)
        changed = picture.copy()
        changed[row * TILE : (row + 1) * TILE, col * TILE : (col + 1) * TILE] ^= 255
        other = model.encode([changed])[0].reshape(5, VIEW_TOKENS, -1)
        moved = (views - other).abs().amax(dim=(1, 2)) > 1e-3
        assert moved.nonzero()[:, 0].tolist() == [number, 4]


@torch.no_grad()
def test_a_token_is_the_square_of_patches_at_its_place(folder) -> None:
    model, picture = loaded(folder, SQUARE), noise(EDGE, EDGE)
    tokens = model.encode([picture])[0].reshape(5, 2, 2, -1)
    pixels = model.processor(images=[[picture]], return_tensors="pt")["pixel_values"][0]
    side = TILE // PATCH
    states = model.net.model.vision_model(pixels).last_hidden_state.reshape(5, side, side, -1)
    for row in range(2):
        for col in range(2):
            rows = slice(row * SCALE, (row + 1) * SCALE)
            square = states[:, rows, col * SCALE : (col + 1) * SCALE]
            torch.testing.assert_close(tokens[:, row, col], square.flatten(1), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["idefics3", "smolvlm"])
def test_a_checkpoint_that_splits_nothing_reads_one_view(folders, tmp_path, kind: str) -> None:
    copy = prepared(folders[kind], tmp_path, **WHOLE)
    picture, library = noise(TILE, TILE), AutoModelForImageTextToText.from_pretrained(copy).eval()
    wanted = library(**idefics3.library_inputs(copy, picture, QUESTIONS[0])).logits
    got = whole_logits(loaded(copy), picture, QUESTIONS[0])
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["idefics3", "smolvlm"])
def test_a_black_picture_has_as_many_tokens_as_any(folders, tmp_path, kind: str) -> None:
    # Unnormalised, black is zero, and the library takes a view of zeros for padding.
    model = loaded(prepared(folders[kind], tmp_path, **RAW), SQUARE)
    picture = noise(EDGE, EDGE)
    dark = picture.copy()
    dark[:TILE, :TILE] = 0
    black = np.zeros_like(picture)
    pixels = model.processor(images=[[dark]], return_tensors="pt")["pixel_values"]
    left = model.net.model.get_image_features(pixels).pooler_output[0]
    assert len(left) == 4 * VIEW_TOKENS, "the library no longer drops black views"

    together = model.encode([picture, black, dark])
    assert together.shape[:2] == (3, 5 * VIEW_TOKENS)
    for row, alone in enumerate((picture, black, dark)):
        torch.testing.assert_close(together[row], model.encode([alone])[0], atol=1e-5, rtol=0)
    views = together.reshape(3, 5, VIEW_TOKENS, -1)
    torch.testing.assert_close(views[2, 0], views[1, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(views[2, 1:4], views[0, 1:4], atol=1e-5, rtol=0)


@torch.no_grad()
def test_many_images_go_through_the_tower_in_parts(folder) -> None:
    model = loaded(folder, SQUARE)
    pictures = [noise(EDGE, EDGE, seed=seed) for seed in range(8)]  # 40 views
    tokens = model.encode(pictures)
    for row in (0, 6, 7):
        torch.testing.assert_close(tokens[row], model.encode([pictures[row]])[0])


@torch.no_grad()
def test_images_of_any_size_are_brought_to_the_canvas(folder) -> None:
    model = loaded(folder, Canvas(height=TILE, width=EDGE))
    for height, width in ((7, 90), (100, 30), (TILE, EDGE)):
        assert model.encode([noise(height, width)]).shape[1] == 3 * VIEW_TOKENS


@torch.no_grad()
def test_an_answer_ends_where_tokenizer_or_generation_config_says(folder, tmp_path) -> None:
    model, picture = loaded(folder, SQUARE), noise(EDGE, EDGE)
    eos, utterance = model.tokenizer.convert_tokens_to_ids(["</s>", "<end_of_utterance>"])
    assert model.answer_ids("teal")[-1] == eos
    assert model.net.generation_config.eos_token_id == [eos, utterance]

    def said(model: Idefics3Model) -> list[int]:
        kept = torch.arange(model.num_tokens)[None]
        batch = model.batch(model.project(model.encode([picture])), kept, QUESTIONS[:1])
        return model.generate(batch, 4).tokens[0]

    long = said(model)
    assert len(set(long)) > 1
    ends = {"eos_token_id": [eos, long[-1]]}
    copy = edited(folder, tmp_path / "copy", "generation_config.json", **ends)
    assert said(loaded(copy, SQUARE)) == long[: long.index(long[-1]) + 1]


def test_clips_are_refused(folder) -> None:
    with pytest.raises(PairError, match="not clips of 2 frames; write frames = 1"):
        loaded(folder, Canvas(height=TILE, width=TILE, frames=2))


def test_views_that_do_not_fall_into_groups_are_refused(folder, tmp_path) -> None:
    copy = prepared(folder, tmp_path, max_image_size={"longest_edge": 3 * PATCH})
    with pytest.raises(PairError, match="3 patches a side, which scale_factor = 2 does not divide"):
        loaded(copy)


def test_the_size_of_a_tile_is_part_of_the_token_space(folder, tmp_path) -> None:
    copy = prepared(folder, tmp_path, max_image_size={"longest_edge": EDGE})
    assert token_space_digest(copy) != token_space_digest(folder)
