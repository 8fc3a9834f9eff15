"""Scorer by share of tokens: is the square kept that decides on `boards`, is the teacher right,
what does one round recover.

Everything is chosen from stream views and measured on test views. A row that is in the `work` file
is not computed again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, load_models
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_device.sampling.scorers import TOKEN_SCORERS
from driftline_lab.bench.kept import add_row, read_rows
from driftline_lab.bench.tokens.arms import arm
from driftline_lab.bench.tokens.asked import roles_of, square_of
from driftline_lab.bench.tokens.paired import compare
from driftline_lab.bench.tokens.rounds import Tests, prepare_tests, run_round
from driftline_lab.bench.tokens.samples import (
    Uncertain,
    coded,
    find_uncertain,
    kept_positions,
    labelled,
    scores_of,
    shares_of,
)
from driftline_lab.data.streams import Segment
from driftline_lab.data.worlds import World, world_named
from driftline_shared.errors import DataError
from driftline_shared.pair.pair import load_pair

SHARES = (0.02, 0.05, 0.10, 0.25, 0.50, 1.0)
ROUND_SHARES = (0.05, 0.10, 0.25)
console = Console(stderr=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokensPlan:
    """What is measured. `world`: None: the pair's; `domains`: none: the drifts of its default
    stream. `scorers`: see `arms.arm`. `settings`: of the rounds, beside the product's defaults.
    """

    pair: str = "boards"
    world: str | None = None
    domains: tuple[str, ...] = ()
    scorers: tuple[str, ...] = TOKEN_SCORERS
    shares: tuple[float, ...] = SHARES
    round_shares: tuple[float, ...] = ROUND_SHARES
    round_scorers: tuple[str, ...] = TOKEN_SCORERS
    num_questions: int = 600
    num_tests: int = 400
    seeds: tuple[int, ...] = (0,)
    settings: Mapping[str, object]

    @property
    def has_rounds(self) -> bool:
        """Whether any round is run; without one nothing is tested."""
        return bool(set(self.round_shares) & set(self.shares) and self.round_scorers)


def run_tokens(plan: TokensPlan, work: Path | None) -> dict[str, Any]:
    """Rows of domain, seed, scorer and share; `tests` has the accuracies before any round, `paired`
    the first scorer beside each other one.
    """
    for text in (*plan.scorers, *plan.round_scorers):
        arm(text)
    pair = load_pair(plan.pair)
    DistilSettings.from_mapping(plan.settings).of_pair(pair.spec.distillation.settings)
    world = world_named(plan.world, pair=pair.name)
    drifts = world.drifts_of(",".join(plan.domains))
    rows = Rows(work)
    models = load_models(pair.dir)
    runtime = TorchRuntime(pair, threads=torch.get_num_threads())
    found = [
        _domain(plan, world, models, runtime, rows, domain, seed)
        for domain in drifts
        for seed in plan.seeds
    ]
    return {
        "bench": "tokens",
        **asdict(plan),
        "distil": models.settings(plan.settings).model_dump(),
        "domains": found,
        "paired": compare(found, ours=plan.scorers[0]),
    }


class Rows:
    """Finished rows by key, in a file of JSON lines or in memory."""

    def __init__(self, path: Path | None) -> None:
        """Raises DataError for a file that does not read or holds what is no row."""
        self._path = path
        self._rows: dict[str, dict[str, Any]] = {}
        try:
            for found in read_rows(path):
                key, row = str(found["key"]), dict(found["row"])
                float(row["square_kept"]), float(row["teacher_right"])
                self._rows[key] = row
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds a line that is no row: remove it ({error})") from error

    def get(self, key: str) -> dict[str, Any] | None:
        """The row, where it is there."""
        return self._rows.get(key)

    def put(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row."""
        self._rows[key] = row
        add_row(self._path, {"key": key, "row": row})


def _domain(
    plan: TokensPlan,
    world: World,
    models: Models,
    runtime: TorchRuntime,
    rows: Rows,
    domain: str,
    seed: int,
) -> dict[str, Any]:
    wanted = Segment(domain=domain, num_questions=plan.num_questions)
    uncertain = find_uncertain(runtime, models, list(world.stream([wanted], seed=seed)))
    tests = prepare_tests(models, world, domain, plan.num_tests, seed) if plan.has_rounds else None
    console.print(
        f"{domain}, seed {seed}: {len(uncertain.events)} of {uncertain.num_seen} uncertain"
        + (f", student {tests.before['one_square']:.3f}" if tests is not None else "")
    )
    made = []
    for scorer in plan.scorers:
        made += _scorer(plan, models, runtime, rows, uncertain, tests, (domain, seed, scorer))
    return {
        "domain": domain,
        "role": roles_of(world)[domain],
        "seed": seed,
        "num_uncertain": len(uncertain.events),
        **(_before(tests) if tests is not None else {}),
        "rows": made,
    }


def _before(tests: Tests) -> dict[str, dict[str, float]]:
    """Accuracies before any round."""
    return {
        "before": dict(tests.before),
        "teacher": dict(tests.teacher),
        "source_before": dict(tests.source_before),
    }


def _scorer(
    plan: TokensPlan,
    models: Models,
    runtime: TorchRuntime,
    rows: Rows,
    uncertain: Uncertain,
    tests: Tests | None,
    names: tuple[str, int, str],
) -> list[dict[str, Any]]:
    domain, seed, scorer = names
    compared = arm(scorer)
    settings = models.settings(plan.settings)
    floor = settings.confidence_floor
    subject = (models.pair.name, models.pair.base_model, plan.world)
    sizes = (plan.num_questions, plan.num_tests, settings.model_dump(mode="json"))
    scores = None
    made = []
    for share in plan.shares:
        rounds = share in plan.round_shares and scorer in plan.round_scorers
        with_round, without = (
            json.dumps([subject, domain, seed, scorer, share, each, sizes])
            for each in (True, False)
        )
        key = with_round if rounds else without
        row = rows.get(with_round) or rows.get(key)
        if row is None:
            scores = scores or scores_of(runtime, compared.scorer, uncertain, seed)
            kept = kept_positions(uncertain, scores, compared.at(share), seed)
            samples = coded(uncertain, kept, models.pair.token_space)
            labels = labelled(models, samples)
            row = {"scorer": scorer, "share": share, "num_tokens": mean_count(kept)}
            row |= shares_of(uncertain, kept, samples, labels, floor)
            if rounds and tests is not None:
                row |= run_round(models, samples, labels, tests, plan.settings, seed)
            rows.put(key, row)
        made.append(row)
        console.print(f"{scorer} {share:g}: {_told(row, uncertain)}")
    return made


def _told(row: Mapping[str, Any], uncertain: Uncertain) -> str:
    """A row in words; of a world without squares none is kept."""
    words = [f"teacher right {row['teacher_right']:.2f}"]
    if any(square_of(event) is not None for event in uncertain.events):
        words.insert(0, f"square kept {row['square_kept']:.2f}")
    if (recovered := row.get("recovered_one_square")) is not None:
        words.append(f"{recovered:.2f} back")
    return ", ".join(words)


def mean_count(kept: Sequence[NDArray[np.int32]]) -> float:
    """Tokens of a sample; a whole number where all have equally many."""
    return float(np.mean([len(places) for places in kept]))
