"""A packed row gives the logits that its questions give alone: the unpacked twin is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from driftline_lab.recipes.packing import IGNORE, Segment, attention_mask, pack

NUM_VISUAL = 16
ROWS = (
    (
        Segment(question=(5, 6, 7), answer=(8, 2)),
        Segment(question=(9, 10), answer=(11, 12, 2)),
        Segment(question=(6,), answer=(2,)),
    ),
    (Segment(question=(7, 7, 9, 4), answer=(13, 2)),),
)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def embed(model: LlamaForCausalLM, ids: Tensor, visual: Tensor) -> Tensor:
    words = model.get_input_embeddings()(ids)
    return torch.cat([words[:, :1], visual, words[:, 1 + visual.shape[1] :]], dim=1)


@pytest.mark.parametrize("num_kept", [1, 5, NUM_VISUAL])
def test_packed_logits_equal_unpacked_logits(model: LlamaForCausalLM, num_kept: int) -> None:
    rng = np.random.default_rng(num_kept)
    order = rng.random((len(ROWS), NUM_VISUAL)).argsort(axis=1)[:, :num_kept]
    kept = np.sort(order, axis=1)
    visual = torch.randn(len(ROWS), num_kept, 32)
    packed = pack(ROWS, kept, num_visual=NUM_VISUAL, start_ids=(1,), pad_id=0)
    with torch.inference_mode():
        together = model(
            inputs_embeds=embed(model, packed.input_ids, visual),
            attention_mask=packed.mask,
            position_ids=packed.position_ids,
        ).logits
        for b, row in enumerate(ROWS):
            for number, segment in enumerate(row, start=1):
                tokens = segment.question + segment.answer
                ids = torch.tensor([[1, *[0] * num_kept, *tokens]])
                places = torch.tensor(
                    [[0, *(1 + kept[b]), *range(1 + NUM_VISUAL, 1 + NUM_VISUAL + len(tokens))]]
                )
                alone = model(
                    inputs_embeds=embed(model, ids, visual[b : b + 1]), position_ids=places
                ).logits[0, 1 + num_kept :]
                torch.testing.assert_close(
                    together[b][packed.segments[b] == number], alone, rtol=1e-4, atol=1e-5
                )


def test_labels_are_the_answers_and_nothing_else() -> None:
    kept = np.tile(np.arange(4), (len(ROWS), 1))
    packed = pack(ROWS, kept, num_visual=NUM_VISUAL, start_ids=(1,), pad_id=0)
    for b, row in enumerate(ROWS):
        wanted = [token for segment in row for token in segment.answer]
        assert packed.labels[b][packed.labels[b] != IGNORE].tolist() == wanted
        assert int(packed.question_ends[b].sum()) == len(row)


def test_a_segment_sees_the_prefix_and_itself_only() -> None:
    mask = attention_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]))[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
