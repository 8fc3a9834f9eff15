"""The same paths on an accelerator: bfloat16 teacher, NF4 student, a whole distillation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import load_models
from driftline_cloud.distill.teacher import label
from driftline_cloud.distill.trainer import distil
from driftline_cloud.jobs import DistillJob
from driftline_shared.models.adapters import slots
from driftline_shared.models.loading import load_student, load_teacher
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.update import adapter_digest
from tests.fakes.pair_samples import make_samples
from tests.fakes.tiny_pair import QUESTIONS, make_tiny_pair, random_image

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.integration,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator"),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(make_tiny_pair(tmp_path_factory.mktemp("pair")))


def test_version_0_is_the_same_bits_on_both_kinds_of_machine(pair: Pair) -> None:
    here, there = (load_student(pair, twin=True, device=d) for d in ("cpu", "cuda"))
    assert adapter_digest(slots.read(here.model)) == adapter_digest(slots.read(there.model))


def test_the_teacher_is_bfloat16_and_says_nearly_what_it_says_in_float32(pair: Pair) -> None:
    here, there = load_teacher(pair), load_teacher(pair, "cuda")
    assert next(there.model.parameters()).dtype == torch.bfloat16
    torch.testing.assert_close(*(_logits(model) for model in (here, there)), atol=0.5, rtol=0.1)


def test_the_quantized_student_says_what_its_twin_says(pair: Pair) -> None:
    device, twin = load_student(pair, device="cuda"), load_student(pair, twin=True, device="cuda")
    torch.testing.assert_close(*(_logits(model) for model in (device, twin)), atol=0.5, rtol=0.1)


def test_a_round_is_distilled(pair: Pair) -> None:
    models = load_models(pair.dir, "cuda")
    samples = make_samples(pair, 12)
    settings: dict[str, object] = {"min_steps": 4, "max_steps": 4, "confidence_floor": 0.0}
    plan = DistilSettings.from_mapping(settings)
    labels = label(models.teacher, pair, samples, plan, lambda _: None)
    job = DistillJob(
        pair_dir=pair.dir,
        seed=0,
        start=models.initial,
        samples=samples,
        labels=labels,
        settings=settings,
    )
    made = distil(job, models, lambda _: None)
    assert all(np.isfinite(tensor).all() for tensor in made.adapter.values())
    assert adapter_digest(made.adapter) != adapter_digest(models.initial)


@torch.no_grad()
def _logits(model: MultimodalModel) -> torch.Tensor:
    image = random_image(1)
    everywhere = torch.arange(model.num_tokens)[None]
    batch = model.batch(model.project(model.encode([image])), everywhere, QUESTIONS[:1])
    return model.forward(batch).logits.cpu()
