"""One round on what a scorer kept: what it recovers of the drift, and what it costs at home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.jobs import Label
from driftline_lab.bench.cloud.akd import HOLDOUT_SHARE, Seen, Sent, answers, look, one_round
from driftline_lab.bench.tokens.asked import is_counted
from driftline_lab.data.domains import SOURCE
from driftline_lab.data.worlds import World
from driftline_shared.exact_match import is_correct
from driftline_shared.models.adapters import slots
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.tokens import Sample

Accuracy = Mapping[str, float]
"""{"all" or "one_square": share of test questions answered right, 0..1}"""


@dataclass(frozen=True, kw_only=True)
class Tests:
    """Held-out questions of a drift and of the source; what both models answer before a round."""

    drift: Seen
    source: Seen
    before: Accuracy
    source_before: Accuracy
    teacher: Accuracy


def prepare_tests(
    models: Models, world: World, domain: str, num_questions: int, seed: int
) -> Tests:
    """Tests of `num_questions` each; no stream shows their pictures."""
    drift, source = (
        look(models.student, list(world.held_out(name, num_questions=num_questions, seed=seed)))
        for name in (domain, SOURCE)
    )
    slots.write(models.student.model, models.initial)
    return Tests(
        drift=drift,
        source=source,
        before=accuracy(models.student, drift),
        source_before=accuracy(models.student, source),
        teacher=accuracy(models.teacher, drift),
    )


def accuracy(model: MultimodalModel, seen: Seen) -> dict[str, float]:
    """From all tokens: over all questions, and over those that one square decides."""
    made = answers(model, seen)
    right = np.array([is_correct(a, e.answer) for (a, _), e in zip(made, seen.events, strict=True)])
    one = np.array([is_counted(event) for event in seen.events])
    return {"all": float(right.mean()), "one_square": float(right[one].mean())}


def run_round(
    models: Models,
    samples: Sequence[Sample],
    labels: Sequence[Label],
    tests: Tests,
    settings: Mapping[str, object],
    seed: int,
) -> dict[str, float]:
    """Accuracies after a round from version 0, in 0..1, and the shares of the gap recovered."""
    order = np.random.default_rng([seed, 5]).permutation(len(samples)).tolist()
    cut = int(HOLDOUT_SHARE * len(order))
    sent = Sent(
        train=[samples[i] for i in order[cut:]],
        train_labels=[labels[i] for i in order[cut:]],
        holdout=[samples[i] for i in order[:cut]],
        holdout_labels=[labels[i] for i in order[:cut]],
    )
    floor = DistilSettings.from_mapping(settings).confidence_floor
    if not any(label.confidence >= floor for label in sent.train_labels):
        after, source_after = tests.before, tests.source_before
        numbers: dict[str, float] = {}
    else:
        done = one_round(models, sent, [], models.initial, settings, seed)
        numbers = done.numbers
        slots.write(models.student.model, done.adapter)
        after = accuracy(models.student, tests.drift)
        source_after = accuracy(models.student, tests.source)
        slots.write(models.student.model, models.initial)
    found = {f"after_{key}": value for key, value in after.items()}
    found |= {f"source_after_{key}": value for key, value in source_after.items()}
    found |= {
        f"recovered_{key}": (after[key] - tests.before[key])
        / max(tests.teacher[key] - tests.before[key], 1e-9)
        for key in after
    }
    return found | {key: numbers.get(key, 0.0) for key in ("num_samples", "num_extra")}
