"""Token codecs side by side on the same samples: bytes, errors, the teacher's labels, one round.

For each drift and seed the same questions leave with the same places kept, once in each codec; a
round is distilled from each, without packing or gate. Accuracies are of stream pictures that no
round sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from driftline_cloud.distill.student import Models, load_models
from driftline_lab.bench.cloud.akd import Plan, Seen, accuracy, one_round, parts_of, send
from driftline_lab.data.domains import SOURCE
from driftline_lab.data.worlds import world_named
from driftline_shared.codec.tokens import decode_tokens
from driftline_shared.models.adapters import slots
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import Sample
from driftline_shared.wire import dump_sample

BASELINE = "int8"
console = Console(stderr=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecPlan:
    """`codecs` beside int8, for every domain and seed; other numbers as `akd`'s."""

    pair: str
    codecs: tuple[str, ...]
    domains: tuple[str, ...]
    seeds: tuple[int, ...]
    num_questions: int
    num_test: int
    share: float
    sample_share: float
    with_rounds: bool = True


def run_token_codecs(plan: CodecPlan) -> dict[str, Any]:
    """Rows of domain, seed and codec.

    `sample_bytes`: mean of the whole sample as it travels; `relative_error`: squared error over
    the variance of the kept tokens; `agreement`: share of labels that are those of int8's tokens;
    `after`: accuracy of the candidate.
    """
    models = load_models(load_pair(plan.pair).dir)
    rows: list[dict[str, Any]] = []
    for domain in plan.domains:
        for seed in plan.seeds:
            rows += _rows(models, plan, domain, seed)
    return {"bench": "token-codecs", "pair": models.pair.name, "rows": rows}


def _rows(models: Models, plan: CodecPlan, domain: str, seed: int) -> list[dict[str, Any]]:
    one = Plan(
        world=world_named(None, pair=models.pair.name),
        domain=domain,
        num_questions=plan.num_questions,
        rounds=1,
        share=plan.share,
        sample_share=plan.sample_share,
        seed=seed,
        final=False,
        num_test=plan.num_test,
    )
    (seen,), tests = parts_of(models, one)
    common: dict[str, Any] = {"domain": domain, "seed": seed}
    if plan.with_rounds:
        common |= {
            "before": accuracy(models.student, tests[domain]),
            "teacher": accuracy(models.teacher, tests[domain]),
            "source_before": accuracy(models.student, tests[SOURCE]),
        }
    rows: list[dict[str, Any]] = []
    labels: dict[bytes, str] = {}
    for codec in (BASELINE, *plan.codecs):
        sent = send(models, seen, one, 0, codec)
        samples = [*sent.holdout, *sent.train]
        mine = {label.sample_id: label.text for label in (*sent.holdout_labels, *sent.train_labels)}
        if not labels:
            labels = mine
        row = common | {"codec": codec} | _measured(models, seen, samples)
        row["agreement"] = float(np.mean([labels[key] == text for key, text in mine.items()]))
        if plan.with_rounds:
            adapter = one_round(models, sent, [], models.initial, {}, seed).adapter
            slots.write(models.student.model, adapter)
            row["after"] = accuracy(models.student, tests[domain])
            row["source_after"] = accuracy(models.student, tests[SOURCE])
            slots.write(models.student.model, models.initial)
        console.print(" ".join(f"{key}={_text(value)}" for key, value in row.items()))
        rows.append(row)
    return rows


def _measured(models: Models, seen: Seen, samples: Sequence[Sample]) -> dict[str, Any]:
    """Bytes and errors of the samples, whose ids name their questions."""
    space = models.pair.token_space
    error = spread = 0.0
    for sample in samples:
        decoded = decode_tokens(sample.tokens, space)
        exact = seen.tokens[int.from_bytes(sample.id[1:], "big")][decoded.positions]
        error += float(((decoded.values - exact) ** 2).sum(dtype=np.float64))
        spread += float(((exact - exact.mean(axis=0)) ** 2).sum(dtype=np.float64))
    return {
        "num_samples": len(samples),
        "payload_bytes": float(np.mean([len(sample.tokens.payload) for sample in samples])),
        "sample_bytes": float(np.mean([len(dump_sample(sample)) for sample in samples])),
        "relative_error": error / max(spread, 1e-12),
    }


def _text(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
