"""Batches of pictures that have different numbers of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driftline_shared.models.compression.batches import NO_PLACE
from driftline_shared.models.compression.compressed_model import CompressedModel, facts_of
from driftline_shared.models.compression.compressor import (
    Compression,
    Options,
    TokenCompressor,
)
from driftline_shared.models.compression.rows.rows import TokenRow, TowerTokens
from driftline_shared.models.multimodal import EXTRA_PLACE
from tests.unit.shared.models.compression.test_tower import Chooser, loaded, picture_for

QUESTIONS = ("what shape is it?", "is it red?")


class Halver(TokenCompressor):
    """Keeps the brighter tokens, of each picture another number; remembers it for its row."""

    num: int

    def on_vision(self, tokens: TowerTokens, question: Tensor | None) -> TowerTokens:
        chosen = (tokens.values.mean(dim=-1) > 0).nonzero()[:, 0]
        self.num = len(chosen)
        return tokens.take(chosen)

    def on_embeds(self, row: TokenRow) -> TokenRow:
        assert len(row.visual) == self.num
        return row


def compressed(model: Any, kind: type[TokenCompressor]) -> CompressedModel:
    return CompressedModel(
        model, Compression(name="x", kind=kind, options=Options(), facts=facts_of(model))
    )


def test_a_look_of_a_method_behind_the_projector_is_the_plain_batch(tmp_path: Path) -> None:
    model = loaded("llava", tmp_path)
    whole = compressed(model, TokenCompressor)
    images = [picture_for(model, seed) for seed in range(2)]
    looked = whole.look(images, QUESTIONS)
    every = torch.arange(model.num_tokens).expand(2, -1)
    plain = model.batch(model.project(model.encode(images)), every, QUESTIONS)
    for name in ("attention_mask", "position_ids", "labels", "visual", "holds"):
        assert torch.equal(getattr(looked.batch, name), getattr(plain, name)), name
    torch.testing.assert_close(looked.batch.inputs_embeds, plain.inputs_embeds)
    assert not whole.looks
    for image, seen in zip(images, looked.looks, strict=True):
        torch.testing.assert_close(seen.whole, model.encode([image])[0])


def test_rows_of_different_length_answer_as_alone(tmp_path: Path) -> None:
    model = loaded("llava", tmp_path)
    half = compressed(model, Halver)
    assert half.looks
    images = [picture_for(model, seed) for seed in range(2)]
    both = half.look(images, QUESTIONS)
    sizes = [len(seen.tokens.token) for seen in both.looks]
    assert len(set(sizes)) == 2 and max(sizes) < model.num_tokens
    less = sizes.index(min(sizes))
    assert (both.batch.visual[less] == NO_PLACE).sum() == max(sizes) - min(sizes)
    said = half.generate(both.batch, 4)
    for number in range(2):
        alone = half.look(images[number : number + 1], QUESTIONS[number : number + 1])
        assert half.generate(alone.batch, 4).tokens == [said.tokens[number]]
    # The same batch may be read again.
    assert half.generate(both.batch, 4).tokens == said.tokens
    taught = half.look(images, QUESTIONS, [model.answer_ids("yes"), model.answer_ids("teal")])
    places = taught.batch.labels[:, 1:] != -100
    asked = torch.nn.functional.pad(places, (0, 1))
    assert torch.isfinite(half.forward(taught.batch, asked).logits).all()


def test_extra_pictures_stand_before_the_first_token(tmp_path: Path) -> None:
    model = loaded("llava_onevision_video", tmp_path)
    chooser = compressed(model, Chooser)
    clip = picture_for(model)
    looked = chooser.look([clip], QUESTIONS[:1])
    cells = model.grid.rows * model.grid.cols
    batch = looked.batch
    assert batch.holds is not None
    extra = (batch.holds[0] == EXTRA_PLACE).nonzero()[:, 0]
    assert len(extra) == 2 * cells
    assert int(extra[-1]) + 1 == int(batch.visual[0, 0])
    assert (batch.position_ids.diff() > 0).all()
    whole = model.project(model.encode([clip]))[0]
    middle = whole[cells : 2 * cells]
    torch.testing.assert_close(batch.inputs_embeds[0, extra[:cells]], middle)
    torch.testing.assert_close(batch.inputs_embeds[0, batch.visual[0, :cells]], whole[:cells])
    assert looked.looks[0].whole is None
    assert chooser.generate(batch, 3).tokens
