"""Qwen3-VL: a token carries the features of inner tower layers, and they are read."""

from __future__ import annotations

import pytest
import torch

from driftline_shared.models.families.qwen3_vl import Qwen3VlModel
from driftline_shared.models.loading import load_model
from tests.fakes.families import canvas_noise, qwen3_vl
from tests.fakes.families.qwen_vl import MERGE, TOWER_WIDTH

QUESTION = "is it red?"
# One layer more than inner features: those added after the last one reach no other place.
WIDTH, LAYERS = 32, 3
GROUP = MERGE**2 * TOWER_WIDTH


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Qwen3VlModel:
    made = tmp_path_factory.mktemp("qwen3") / "it"
    folder = qwen3_vl.make_checkpoint(made, width=WIDTH, layers=LAYERS)
    loaded = load_model(folder, prompt=qwen3_vl.PROMPT, canvas=qwen3_vl.CANVAS)
    assert isinstance(loaded, Qwen3VlModel)
    return loaded


@pytest.fixture(scope="module")
def tokens(model: Qwen3VlModel) -> torch.Tensor:
    return model.encode([canvas_noise(qwen3_vl.CANVAS)])


@torch.no_grad()
def test_a_token_is_a_group_of_the_last_layer_and_one_of_each_inner_layer(model, tokens) -> None:
    assert tokens.shape == (1, 15, 3 * GROUP)
    projected = model.project(tokens)
    assert projected.shape == (1, 15, 3 * WIDTH)
    inner = model.net.model.visual.deepstack_merger_list
    for index, merger in enumerate(inner, 1):
        group = tokens[0, :, index * GROUP : (index + 1) * GROUP]
        wanted = merger(group.reshape(-1, TOWER_WIDTH))
        torch.testing.assert_close(
            projected[0, :, index * WIDTH : (index + 1) * WIDTH], wanted, atol=1e-6, rtol=0
        )


@torch.no_grad()
@pytest.mark.parametrize("part", [0, 1, 2])
def test_every_part_of_a_token_is_read(model, tokens, part: int) -> None:
    kept = torch.tensor([[2, 8, 13]])
    projected = model.project(tokens[:, kept[0]])
    without = projected.clone()
    without[..., part * WIDTH : (part + 1) * WIDTH] = 0
    logits = [
        model.forward(model.batch(states, kept, [QUESTION])).logits[0, -1]
        for states in (projected, without)
    ]
    assert float((logits[0] - logits[1]).abs().max()) > 1e-2


def test_inner_features_train_too(model, tokens) -> None:
    """The way back from the answer leads through every part of a token."""
    kept = torch.tensor([[9, 2, 13]])
    projected = model.project(tokens[:, kept[0]]).detach().requires_grad_()
    batch = model.batch(projected, kept, [QUESTION], [model.answer_ids("yes")])
    model.forward(batch).logits.log_softmax(-1).square().sum().backward()
    assert projected.grad is not None
    sizes = projected.grad.reshape(1, 3, 3, WIDTH).abs().amax(dim=-1)
    assert bool((sizes > 0).all())
