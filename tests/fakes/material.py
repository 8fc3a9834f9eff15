"""Questions about random pictures with tower tokens, as a run takes them, for the random pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftline_cloud.distill.student import Models
from driftline_lab.experiments.material import Asked, Material, assemble
from driftline_lab.experiments.plan import Plan
from driftline_shared.tokens import SamplingPolicy
from tests.fakes.tiny_pair import ANSWERS, QUESTIONS, random_image

DOMAINS = ("source", "night")

FAST: dict[str, object] = {
    "threads": 1,
    "min_steps": 2,
    "max_steps": 2,
    "batch_size": 6,
    "memory_batch_size": 4,
    "num_source_rows": 8,
    "gate_source_rows": 6,
    "extra_questions": 1,
    "confidence_floor": 0.0,
}


def random_plan(**changes: object) -> Plan:
    """A run of seconds: the gate lets nearly all pass, for a random pair has no certainty."""
    values: dict[str, object] = {
        "pair": "random",
        "questions": 10,
        "tests": 4,
        "answer_batch": 5,
        "round_samples": 7,
        "policy": SamplingPolicy(gate_quantile=0.0, max_sample_share=1.0, token_share=0.5),
        "distil": FAST,
        "gate": {
            "sure_of_gain": 0,
            "sure_of_harm": 1,
            "sure_of_source_harm": 1,
            "max_step_ratio": 100,
        },
        "dwc": {"shares": (0.5,), "quantizers": ("linear8",), "max_fp16_share": 1.0},
    }
    return Plan.model_validate({**values, **changes})


def random_material(models: Models, plan: Plan) -> Material:
    """Two segments and two test sets of pictures of noise."""
    images = [random_image(1_000 + number) for number in range(12)]
    tokens = models.student.encode(images).float().cpu().numpy()

    def rows(domain: str, count: int, first: int) -> Sequence[Asked]:
        return [
            Asked(
                question=QUESTIONS[n % len(QUESTIONS)],
                truth=ANSWERS[n % len(ANSWERS)],
                domain=domain,
                values=np.asarray(tokens[n % len(tokens)], np.float32),
            )
            for n in range(first, first + count)
        ]

    segments = [rows(name, plan.questions, 5 * place) for place, name in enumerate(DOMAINS)]
    return assemble(segments, {name: rows(name, plan.tests, 3) for name in DOMAINS})
