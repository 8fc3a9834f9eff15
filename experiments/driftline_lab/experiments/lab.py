"""Runs on demand: models, tokens, teacher's accuracies and results are each made once.

<folder>/runs/<digest of everything a run depends on>.json
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydantic import TypeAdapter

from driftline_cloud.distill import passes
from driftline_cloud.distill.student import Models, load_models
from driftline_cloud.distill.teacher import teacher_digest
from driftline_lab.baselines.baseline import Baseline
from driftline_lab.experiments import kept, material
from driftline_lab.experiments.captions import Captions, captions
from driftline_lab.experiments.material import Material
from driftline_lab.experiments.plan import Plan
from driftline_lab.experiments.result import Result
from driftline_lab.experiments.run import accuracies, run, settings_of
from driftline_lab.replay.cache.models import models_digest
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.errors import DataError
from driftline_shared.pair.pair import load_pair

REVISION = 2
"""Of what a run does; a change that moves results raises it, and kept results count no more."""

_ACCURACY, _CAPTIONS = TypeAdapter(dict[str, float]), TypeAdapter(Captions)
T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Lab:
    """One pair in memory at a time. `folder`: of results; `store`: of tokens, labels, accuracies.

    `report`: gets a sentence now and then.
    """

    def __init__(
        self,
        folder: Path,
        store: ResultStore,
        *,
        report: Callable[[str], None] = ignore,
        load: Callable[[Path], Models] = load_models,
    ) -> None:
        self._folder = folder
        self._store = store
        self._report = report
        self._load = load
        self._models: tuple[str, Models] | None = None
        self._material: tuple[str, Material] | None = None
        self._digests: tuple[str, dict[str, str]] | None = None
        self._doubted: set[Path] = set()
        self.num_made = 0
        """Runs that were not there."""

    def models(self, pair: str) -> Models:
        """The pair's models, loaded."""
        if self._models is None or self._models[0] != pair:
            self._models = self._material = None  # before the next is loaded
            self._models = (pair, self._load(load_pair(pair).dir))
        return self._models[1]

    def material(self, plan: Plan) -> Material:
        """The plan's stream and tests; the last one asked for stays."""
        key = self.material_key(plan)
        if self._material is None or self._material[0] != key:
            models = self.models(plan.pair)
            self._report(f"tokens of {plan.pair}, seed {plan.seed}")
            with passes.fixed_threads(plan.distil.threads):
                found = material.prepare(plan, models.pair, models.student, self._store)
            self._material = (key, found)
        return self._material[1]

    def material_key(self, plan: Plan) -> str:
        """Equal where two plans have the same stream and tests."""
        return plan.model_dump_json(
            include={"pair", "world", "segments", "questions", "tests", "seed"}
        )

    def run(self, plan: Plan, baseline: Baseline, progress: Progress = ignore) -> Result:
        """The result of `baseline` under `plan`, kept or made now."""
        there = self.kept(plan, baseline)
        if there is not None:
            return there
        models, found = self.models(plan.pair), self.material(plan)
        made = run(
            plan,
            baseline,
            models,
            found,
            self.teacher_accuracy(plan),
            self._store,
            progress,
            self.teacher_captions(plan),
        )
        key = self.key(plan, baseline)
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept.write(path, made, key)
        self.num_made += 1
        _log.info("experiment.made", baseline=baseline.name, seconds=round(made.seconds["all"], 1))
        return made

    def key(self, plan: Plan, baseline: Baseline) -> str:
        """Digest of everything a run depends on; its result's name."""
        pair = self.pair_digests(plan.pair)
        return digest_of({"revision": REVISION, "digests": pair, **described(plan, baseline)})

    def kept(self, plan: Plan, baseline: Baseline) -> Result | None:
        """The result that is there, if any; a file that holds something else is named once."""
        key = self.key(plan, baseline)
        path = self._path(key)
        try:
            return kept.read(path, key, baseline=baseline.name, seed=plan.seed)
        except DataError as error:
            if path not in self._doubted:
                self._doubted.add(path)
                self._report(f"{path} does not count, its run is to be made anew: {error}")
        return None

    def has(self, plan: Plan, baseline: Baseline) -> bool:
        """Whether that run's result is there."""
        return self.kept(plan, baseline) is not None

    def teacher_accuracy(self, plan: Plan) -> dict[str, float]:
        """The teacher's accuracy on each domain, from all tokens; kept."""
        models, found = self.models(plan.pair), self.material(plan)
        return self._of_teacher(
            "accuracy", _ACCURACY, plan, lambda: accuracies(models.teacher, found, plan.distil)
        )

    def teacher_captions(self, plan: Plan) -> Captions:
        """Scores of the teacher's captions, by domain, from all tokens; kept."""
        models, found = self.models(plan.pair), self.material(plan)
        return self._of_teacher(
            "captions",
            _CAPTIONS,
            plan,
            lambda: captions(models.teacher, models.pair, found, plan.distil),
        )

    def _of_teacher(self, what: str, form: TypeAdapter[T], plan: Plan, make: Callable[[], T]) -> T:
        """Kept, or made now."""
        digests = f"{teacher_digest(self.models(plan.pair).pair)}\0{self.material(plan).digest}"
        key = hashlib.sha256(f"{what}\0{digests}\0{REVISION}".encode()).digest()
        found = self._store.get([key]).get(key)
        if found is not None:
            return form.validate_json(found)
        with passes.fixed_threads(plan.distil.threads):
            made = make()
        self._store.put({key: form.dump_json(made)})
        return made

    def pair_digests(self, pair: str) -> dict[str, str]:
        """Hex digests of all of a pair that a run depends on, and of the software it runs with."""
        if self._digests is None or self._digests[0] != pair:
            found = load_pair(pair)
            values = {
                "student": found.base_model,
                "teacher": teacher_digest(found),
                "token_space": found.token_space.digest,
                "sets_and_software": models_digest(found),
            }
            self._digests = (pair, values)
        return self._digests[1]

    def _path(self, key: str) -> Path:
        return self._folder / "runs" / f"{key}.json"


def described(plan: Plan, baseline: Baseline) -> dict[str, Any]:
    """A run in plain values: the plan, with what the baseline makes of it."""
    applied = plan.model_copy(
        update={
            "policy": baseline.policy(plan.policy),
            "distil": settings_of(plan, baseline),
        }
    )
    return {
        "baseline": baseline.name,
        "learn": _place(baseline.learn),
        "pack": _place(baseline.pack),
        "online": _place(baseline.online),
        "filter": _place(baseline.new_filter),
        "sends": baseline.sends,
        "gated": baseline.gated,
        "plan": applied.model_dump(mode="json"),
    }


def digest_of(values: dict[str, Any]) -> str:
    """Short hex digest of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:24]


def _place(function: object) -> str:
    if function is None:
        return ""
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
