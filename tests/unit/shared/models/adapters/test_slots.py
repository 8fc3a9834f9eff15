"""Adapters: version 0 changes nothing, slots keep apart, the quantized model has an exact twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from driftline_shared.dropout import DropoutMasks
from driftline_shared.errors import UpdateError
from driftline_shared.models.adapters import slots
from driftline_shared.models.families.llava import LlavaModel
from driftline_shared.models.loading import load_model
from driftline_shared.pair.pair import Pair
from driftline_shared.update import adapter_digest
from tests.fakes.adapters import trained
from tests.fakes.tiny_pair import NUM_TOKENS, QUESTIONS, random_image

IMAGES = [random_image(seed) for seed in range(2)]


def load(pair: Pair, **options: object) -> LlavaModel:
    loaded = load_model(pair.student_dir, prompt=pair.prompt, adapter=pair.adapter, **options)
    assert isinstance(loaded, LlavaModel)
    return loaded


@torch.no_grad()
def logits(model: LlavaModel) -> torch.Tensor:
    positions = torch.arange(NUM_TOKENS).expand(2, -1)
    projected = model.project(model.encode(IMAGES))
    return model.forward(model.batch(projected, positions, QUESTIONS[:2])).logits


def test_version_0_answers_as_the_bare_model(pair: Pair) -> None:
    bare = load_model(pair.student_dir, prompt=pair.prompt)
    assert torch.allclose(logits(load(pair)), logits(bare), atol=1e-5)


def test_version_0_is_the_same_on_both_sides(pair: Pair) -> None:
    device = slots.read(load(pair, quantization="nf4").model)
    twin = slots.read(load(pair, quantization="nf4", twin=True).model)
    assert adapter_digest(device) == adapter_digest(twin)


def test_what_is_written_is_read_and_changes_answers(pair: Pair) -> None:
    model = load(pair)
    before = logits(model)
    new = trained(slots.read(model.model), seed=0, step=0.1)
    slots.write(model.model, new)
    assert adapter_digest(slots.read(model.model)) == adapter_digest(new)
    assert not torch.allclose(logits(model), before, atol=1e-3)


def test_the_spare_slot_leaves_the_active_one_alone(pair: Pair) -> None:
    model = load(pair)
    before = logits(model)
    slots.add_slot(model.model)
    slots.write(model.model, trained(slots.read(model.model), seed=0, step=0.1), slots.SPARE)
    assert torch.equal(logits(model), before)
    slots.use(model.model, slots.SPARE)
    assert not torch.allclose(logits(model), before, atol=1e-3)
    slots.use(model.model, slots.ACTIVE)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("quantization, bound", [("nf4", 1e-4), ("int8", 0.15)])
def test_the_twin_has_the_devices_logits(pair: Pair, quantization: str, bound: float) -> None:
    """Exact for NF4; LLM.int8 also rounds activations, so its twin is only near."""
    device = load(pair, quantization=quantization)
    twin = load(pair, quantization=quantization, twin=True)
    new = trained(slots.read(device.model), seed=0, step=0.1)
    for model in (device, twin):
        slots.write(model.model, new)
    assert (logits(device) - logits(twin)).abs().max() <= bound


def test_an_adapter_of_another_shape_is_refused(pair: Pair) -> None:
    model = load(pair)
    held = dict(slots.read(model.model))
    with pytest.raises(UpdateError, match="does not fit"):
        slots.write(model.model, {k: v for k, v in held.items() if k != "norm"})
    held["norm"] = np.zeros(7, dtype=np.float32)
    with pytest.raises(UpdateError, match="norm"):
        slots.write(model.model, held)


def test_dropout_acts_inside_the_block_only_and_by_its_seed(pair: Pair) -> None:
    model = load(pair)
    before = logits(model)

    def dropped(seed: int) -> torch.Tensor:
        with slots.dropout_passes(model.model, DropoutMasks(rate=0.3, seed=seed)):
            return logits(model)

    assert torch.equal(dropped(1), dropped(1))
    assert not torch.equal(dropped(1), dropped(2))
    assert torch.equal(logits(model), before)
