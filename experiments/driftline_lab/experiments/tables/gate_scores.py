"""What each gate score knows: AUROC of wrong answers, and calibration error, by domain.

The student answers every domain's test set under version 0. A score's plain confidence is 1 - score
(entropy, margin, mutual information and `p_ik` lie in 0..1) or, for `ood`, its conformal p-value;
the fitted one is a logistic regression on half of all answers, judged on the other half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from driftline_cloud.distill import passes
from driftline_cloud.distill.agreement import calibration_error
from driftline_device.sampling.gate import SCORE_KINDS, ood_score, p_value
from driftline_device.sampling.sampler import PASSES
from driftline_lab.baselines.on_device.source_only import SOURCE_ONLY
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.plan import Plan
from driftline_lab.experiments.tables.scale import Scale
from driftline_lab.experiments.tables.showing import HOW, grid, spread_text
from driftline_lab.experiments.tables.statistics import (
    auroc,
    fitted_confidence,
    spread,
)
from driftline_lab.experiments.tables.table import Arm, Table, arm
from driftline_lab.experiments.twin import TwinSession, ask
from driftline_shared.exact_match import is_correct
from driftline_shared.models.adapters import slots
from driftline_shared.p_ik.head import P_IK

ALL = "all"
Scored = dict[str, list[tuple[bool, dict[str, float]]]]
"""By domain: whether each answer was right, and its scores by kind."""


def arms(scale: Scale) -> list[Arm]:
    """Version 0 on every seed; only the plans count, nothing is streamed."""
    return [arm(scale, SOURCE_ONLY)]


def measure(lab: Lab, scale: Scale) -> dict[str, Any]:
    """A row a kind of score and domain."""
    by_seed = [measures(scored(lab, plan), lab, plan) for plan in arms(scale)[0].plans]
    rows = []
    for kind in by_seed[0]:
        for domain in by_seed[0][kind]:
            mine = [each[kind][domain] for each in by_seed]
            known = [one["auroc"] for one in mine if one["auroc"] is not None]
            rows.append(
                {
                    "score": kind,
                    "domain": domain,
                    "accuracy": spread([one["accuracy"] for one in mine]),
                    "auroc": spread(known) if known else None,
                    "ece": spread([one["ece"] for one in mine], higher_is_better=False),
                    "ece_fitted": spread(
                        [one["ece_fitted"] for one in mine], higher_is_better=False
                    ),
                }
            )
    return {"rows": rows}


def scored(lab: Lab, plan: Plan) -> Scored:
    """The student's answers to every test set, each with all scores."""
    models, found = lab.models(plan.pair), {}
    material = lab.material(plan)
    slots.write(models.student.model, models.initial)
    session = TwinSession(models, max_batch=plan.answer_batch)
    with passes.fixed_threads(plan.distil.threads), torch.inference_mode():
        for name, rows in material.tests.items():
            answers = ask(session, models.pair, rows)
            found[name] = [
                (
                    is_correct(answer.text, row.truth),
                    {
                        **answer.scores,
                        **({P_IK: answer.p_ik.score} if answer.p_ik is not None else {}),
                        "ood": ood_score(answer.tokens, models.pair.token_space),
                        "mutual_information": session.mutual_information(
                            row.question, answer, passes=PASSES, seed=number
                        ),
                    },
                )
                for number, (row, answer) in enumerate(zip(rows, answers, strict=True))
            ]
    return found


def measures(found: Scored, lab: Lab, plan: Plan) -> dict[str, dict[str, Mapping[str, Any]]]:
    """By kind of score and domain, all domains together last."""
    gate = lab.models(plan.pair).pair.gate
    pooled = {**found, ALL: [row for rows in found.values() for row in rows]}
    order = np.random.default_rng([plan.seed, 17]).permutation(len(pooled[ALL]))
    half = set(order[: len(order) // 2].tolist())
    starts, place = {}, 0
    for name, rows in found.items():
        starts[name], place = place, place + len(rows)
    starts[ALL] = 0
    result: dict[str, dict[str, Mapping[str, Any]]] = {}
    for kind in (each for each in SCORE_KINDS if each in gate):
        fit = [pooled[ALL][index] for index in sorted(half)]
        result[kind] = {}
        for name, rows in pooled.items():
            scores = [values[kind] for _, values in rows]
            right = [hit for hit, _ in rows]
            if kind == "ood":
                sure = [p_value(gate[kind], score) for score in scores]
            else:
                sure = [min(max(1.0 - score, 0.0), 1.0) for score in scores]
            unseen = [i for i in range(len(rows)) if starts[name] + i not in half]
            confidence = fitted_confidence(
                [values[kind] for _, values in fit],
                [hit for hit, _ in fit],
                [scores[i] for i in unseen],
            )
            result[kind][name] = {
                "accuracy": float(np.mean(right)),
                "auroc": auroc(scores, [not hit for hit in right]),
                "ece": calibration_error(sure, right),
                "ece_fitted": calibration_error(list(confidence), [right[i] for i in unseen])
                if unseen
                else 0.0,
            }
    return result


def text(result: dict[str, Any]) -> list[str]:
    """One table."""
    head = ["score", "domain", "accuracy, %", "AUROC", "ECE", "ECE, fitted"]
    rows = [
        [
            row["score"],
            row["domain"],
            spread_text(row["accuracy"]),
            spread_text(row["auroc"], scale=1, digits=3),
            spread_text(row["ece"], scale=1, digits=3),
            spread_text(row["ece_fitted"], scale=1, digits=3),
        ]
        for row in result["rows"]
    ]
    about = "AUROC: a wrong answer scores above a right one; – where no answer is wrong."
    return [HOW, about, "", *grid(head, rows)]


def draw(result: dict[str, Any], figure: Any) -> None:
    """AUROC by domain, a group of bars a score."""
    axes = figure.add_subplot()
    domains = list(dict.fromkeys(row["domain"] for row in result["rows"]))
    kinds = list(dict.fromkeys(row["score"] for row in result["rows"]))
    width = 0.8 / len(kinds)
    for number, kind in enumerate(kinds):
        mine = {row["domain"]: row["auroc"] for row in result["rows"] if row["score"] == kind}
        values = [mine[name]["mean"] if mine[name] else 0.0 for name in domains]
        places = [place + number * width for place in range(len(domains))]
        axes.bar(places, values, width=width, label=kind)
    axes.axhline(0.5, color="0.5", linewidth=1)
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(domains))], domains)
    axes.set_ylabel("AUROC of wrong answers")
    axes.legend(frameon=False)


GATE_SCORES = Table(
    name="gate-scores",
    title="What each gate score knows of wrong answers",
    arms=arms,
    measure=measure,
    text=text,
    draw=draw,
    streams=False,
)
