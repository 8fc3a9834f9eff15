"""A model with a compressor behind the MultimodalModel protocol: places, padding, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from driftline_shared.callbacks import finished_text
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.compression.compressed_model import CompressedModel, facts_of
from driftline_shared.models.compression.table import configured
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_model
from driftline_shared.models.multimodal import LmBatch, MultimodalModel, answer_places
from tests.fakes.families import FAMILIES
from tests.fakes.tiny_pair import QUESTIONS, random_image

LAYERS = 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> FamilyModel:
    return _load("llava", tmp_path_factory.mktemp("compressed") / "it")


def _load(family: str, folder: Path) -> FamilyModel:
    fake = FAMILIES[family]
    fake.make_checkpoint(folder, width=64, layers=LAYERS)
    model = load_model(folder, prompt=fake.PROMPT, canvas=fake.CANVAS)
    assert isinstance(model, FamilyModel)
    return model


def _with(base: FamilyModel, keep: float, name: str = "fastv") -> CompressedModel:
    return CompressedModel(base, configured(name, {"keep": keep}, facts_of(base)))


def _batch(model: MultimodalModel, answers: list[list[int]] | None = None) -> LmBatch:
    tokens = model.encode([random_image(seed) for seed in range(3)])
    places = torch.arange(model.num_tokens).expand(3, -1)
    return model.batch(model.project(tokens), places, QUESTIONS, answers)


def test_what_a_method_may_know_of_a_model(base: FamilyModel) -> None:
    facts = facts_of(base)
    config = base.language.config
    assert (facts.num_layers, facts.width) == (LAYERS, 64)
    assert facts.head_width * facts.num_heads == 64
    assert facts.num_key_heads == config.num_key_value_heads
    assert facts.inner == config.intermediate_size
    assert facts.tower_width == base.encode([random_image(0)]).shape[-1]
    assert facts.vocabulary == len(base.head(torch.zeros(64)))
    assert facts.grid == base.grid


@torch.no_grad()
def test_text_and_survivors_may_be_asked_for(base: FamilyModel) -> None:
    model = _with(base, 0.25)
    answers = [model.answer_ids("red"), model.answer_ids("a long answer"), model.answer_ids("2")]
    batch = _batch(model, answers)
    assert batch.holds is not None
    text = (batch.holds < 0) & (batch.attention_mask > 0)
    output = model.forward(batch, text)
    assert output.logits.shape == (int(text.sum()), model.vocab_size)
    rows = model.compressed_generate(_batch(model), 1).rows
    for number, report in enumerate(rows):
        stays = torch.isin(batch.holds[number], torch.from_numpy(report.survivors))
        asked = torch.zeros_like(text)
        asked[number] = stays
        assert model.forward(batch, asked).hidden.shape == (len(report.survivors), 64)
        asked[number] = batch.holds[number] >= 0
        with pytest.raises(ConfigError, match=rf"fastv dropped place \d+ of row {number}"):
            model.forward(batch, asked)
    with pytest.raises(ConfigError, match="fastv dropped place"):
        model.forward(batch)


@torch.no_grad()
def test_padding_gives_zeros_and_nothing_else_does(base: FamilyModel) -> None:
    model = _with(base, 1.0)
    for batch in (_batch(model), _batch(model, [[5, 6, 7], [8], [9, 10]])):
        hidden = model.forward(batch).hidden
        assert torch.equal(hidden.abs().sum(-1) > 0, batch.attention_mask > 0)
        wanted = base.forward(batch).hidden
        told = batch.attention_mask > 0
        torch.testing.assert_close(hidden[told], wanted[told], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_answers_are_read_after_the_prompt_was_compressed(base: FamilyModel) -> None:
    """What an answer says does not change which tokens its prompt keeps."""
    model = _with(base, 0.1)
    first = model.forward(batch := _batch(model, [[5, 6], [7, 8], [9, 3]]), answer_places(batch))
    other = model.forward(batch := _batch(model, [[5, 9], [7, 9], [9, 9]]), answer_places(batch))
    torch.testing.assert_close(first.logits, other.logits, atol=0, rtol=0)


@torch.no_grad()
def test_a_callback_gets_the_text_so_far_row_by_row(base: FamilyModel) -> None:
    model, texts = _with(base, 0.5), []
    made = model.generate(_batch(model), 4, lambda row, text: texts.append((row, text)))
    assert texts == [
        (row, finished_text(model.decode(tokens[: n + 1])))
        for row, tokens in enumerate(made.tokens)
        for n in range(len(tokens))
    ]
    assert made.top1.shape == made.entropy.shape == made.margin.shape
    np.testing.assert_array_equal(made.lengths, [len(tokens) for tokens in made.tokens])


@torch.no_grad()
def test_each_row_reports_what_was_done_to_it(base: FamilyModel) -> None:
    model = _with(base, 0.25)
    batch = _batch(model)
    lengths = batch.attention_mask.sum(1).tolist()
    for length, report in zip(lengths, model.compressed_generate(batch, 2).rows, strict=True):
        assert [count.cached for count in report.layers] == [length] * 2 + [length - 12] * 2
        assert len(report.survivors) == 4 and report.prefix == ()


def test_batches_that_do_not_say_what_they_hold_are_refused(base: FamilyModel) -> None:
    model = _with(base, 0.5)
    batch = _batch(model)
    with pytest.raises(PairError, match="does not say what its places hold"):
        model.generate(replace(batch, holds=None), 1)
    with pytest.raises(PairError, match="positions have 3 axes"):
        axes = batch.position_ids.expand(3, -1, -1)
        model.generate(replace(batch, position_ids=axes), 1)
    with pytest.raises(PairError, match="does not know deepstack"):
        model.generate(replace(batch, extra={"deepstack": None}), 1)


def test_what_three_axes_and_a_tower_of_groups_do_not_allow_is_refused(tmp_path: Path) -> None:
    base = _load("qwen3_vl", tmp_path / "it")
    facts = facts_of(base)
    assert facts.axes == 3
    assert facts.tower_width == base.encode([random_image(0)]).shape[-1]
    with pytest.raises(ConfigError, match=r"vtw: renumber .* 3 \(M-RoPE\)"):
        configured("vtw", {"renumber": True}, facts)
    with pytest.raises(ConfigError, match=r"Prumerge reads attention, keys of .* qwen3_vl"):
        _with(base, 0.5, "prumerge")


@torch.no_grad()
@pytest.mark.parametrize("family", ["llava_onevision", "idefics3", "smolvlm"])
def test_separators_of_other_families_stay(family: str, tmp_path: Path) -> None:
    """Tiles, tags and learned newlines are no text and no visual tokens."""
    model = _load(family, tmp_path / family)
    canvas = FAMILIES[family].CANVAS
    size = (canvas.height, canvas.width, 3) if canvas else (32, 32, 3)
    image = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    projected = model.project(model.encode([image]))
    batch = model.batch(projected, torch.arange(model.num_tokens)[None], QUESTIONS[:1])
    assert batch.holds is not None
    held = batch.holds[0][batch.holds[0] >= 0]
    assert held.sort().values.tolist() == list(range(model.num_tokens))
    assert bool((batch.holds == -2).any())
    for name in ("fastv", "vtw"):
        answers = _with(model, 1.0, name).generate(batch, 4)
        assert answers.tokens == model.generate(batch, 4).tokens
        fewer = _with(model, 0.4, name).compressed_generate(batch, 4)
        assert len(fewer.generated.tokens[0]) > 0
