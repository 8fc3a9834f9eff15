"""The gate's operating curve: how a candidate's true gain and its chance of release go together.

Every round of a stream gives one trained candidate T over a base C. From the two more are made
whose worth nobody chose: along the way and beyond it, backwards, and with noise,

    C + a (T - C) + b rms(T - C) noise        for the (a, b) of `VARIANTS`

and each is judged by the round's own evidence, then measured on the test sets. The round goes on
with T whatever the verdict.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from driftline_cloud.distill.student import Models
from driftline_cloud.release.delta import no_residual
from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_lab.baselines.shipping import Candidate, Shipped
from driftline_lab.data.domains import SOURCE
from driftline_lab.experiments.lab import Lab
from driftline_lab.experiments.material import Material
from driftline_lab.experiments.plan import Plan
from driftline_lab.experiments.run import accuracies, run
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.errors import DataError
from driftline_shared.models.adapters import slots
from driftline_shared.update import Adapter, adapter_fp16_bytes

VARIANTS: Mapping[str, tuple[float, float]] = {
    "trained": (1.0, 0.0),
    "half way": (0.5, 0.0),
    "a fifth of the way": (0.2, 0.0),
    "beyond": (1.5, 0.0),
    "far beyond": (1.8, 0.0),
    "a fifth back": (-0.2, 0.0),
    "half back": (-0.5, 0.0),
    "noise": (0.0, 2.0),
    "way and noise": (0.3, 1.5),
    "more way, more noise": (0.6, 2.5),
}
"""Name -> (a, b) of the module's formula."""

BINS = (-1.0, -0.03, -0.01, 0.0, 0.01, 0.03, 1.0)
"""Edges of true gain between which the chance of release is told."""

TOLD = (
    "gain",
    "gain_error",
    "sure_of_gain",
    "sure_of_source_fall",
    "sure_of_rehearsal_fall",
    "candidate_agreement",
    "base_agreement",
)
"""What of a verdict's numbers a row has: what the verdict was made by."""

CLEAR_GAIN, CLEAR_LOSS = 0.03, -0.01
"""A gain that should be released, a loss that should not: on the round's domain, or of source
accuracy against version 0."""


@dataclass(kw_only=True)
class Recorder:
    """A packer that judges and measures the variants of each candidate, and ships T itself.

    `domain`: of the questions that are asked now. `origin_source`: source accuracy of version 0.
    """

    models: Models
    material: Material
    plan: Plan
    domain: str
    seed: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    num_rounds: int = 0
    origin_source: float = 0.0

    def pack(self, candidate: Candidate) -> Shipped:
        """See `baselines.baseline.Packer`."""
        self.num_rounds += 1
        before = self._truth(candidate.base)
        if self.num_rounds == 1:
            self.origin_source = before[SOURCE]
        for name in VARIANTS:
            rng = np.random.default_rng([self.seed, self.num_rounds, 7])
            adapter = variant(candidate.base, candidate.distilled.adapter, name, rng)
            verdict = candidate.gate.judge(adapter, candidate.base)
            after = self._truth(adapter)
            self.rows.append(
                {
                    "seed": self.seed,
                    "round": self.num_rounds,
                    "domain": self.domain,
                    "variant": name,
                    "gain": after[self.domain] - before[self.domain],
                    "source": after[SOURCE] - self.origin_source,
                    "released": verdict.accepted,
                    "reason": verdict.reason,
                    "numbers": {
                        name: round(value, 5)
                        for name, value in verdict.numbers.items()
                        if name in TOLD
                    },
                }
            )
        return Shipped(
            adapter=candidate.distilled.adapter,
            residual=no_residual(candidate.base),
            num_bytes=adapter_fp16_bytes(candidate.base),
            label="as trained",
        )

    def asked(self, share: float) -> None:
        """What `run` reports as its progress tells which segment comes next."""
        segments = self.material.segments
        place = round(share * self.material.num_questions) // max(len(segments[0]), 1)
        self.domain = segments[min(place, len(segments) - 1)][0].domain

    def _truth(self, adapter: Adapter) -> dict[str, float]:
        slots.write(self.models.student.model, adapter)
        tests = {name: self.material.tests[name] for name in (self.domain, SOURCE)}
        here = Material(segments=(), tests=tests, digest="")
        return accuracies(self.models.student, here, self.plan.distil)


def variant(base: Adapter, trained: Adapter, name: str, rng: np.random.Generator) -> Adapter:
    """The variant called `name`, float32."""
    along, noise = VARIANTS[name]
    found = {}
    for tensor, start in base.items():
        step = trained[tensor] - start
        size = float(np.sqrt(np.square(step, dtype=np.float64).mean()))
        drawn = noise * size * rng.standard_normal(step.shape)
        found[tensor] = (start + along * step + drawn).astype(np.float32)
    return found


def run_gate(plan: Plan, seeds: Sequence[int], say: Callable[[str], object]) -> dict[str, Any]:
    """Every round's variants over the seeds, and the curve of them all."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="driftline-gate-") as place:
        store = ResultStore(Path(place) / "cache")
        lab = Lab(Path(place) / "runs", store)
        for seed in seeds:
            mine = plan.model_copy(update={"seed": seed})
            found = rows_of(mine, lab.models(mine.pair), lab.material(mine), store)
            rows += found
            say(f"seed {seed}: {len(found)} candidates; so far {curve(rows)['summary']}")
        store.close()
    return {"pair": plan.pair, "seeds": list(seeds), **curve(rows), "rows": rows}


def join(documents: Sequence[Path]) -> dict[str, Any]:
    """One result of those in `documents`, as the bench wrote them, over all their seeds.

    Raises DataError for a file that is none, or of another pair, or with a seed twice.
    """
    found = []
    for path in documents:
        try:
            result = json.loads(path.read_text(encoding="utf-8"))["result"]
            seeds, mine = [int(seed) for seed in result["seeds"]], list(result["rows"])
            curve(mine)  # which reads what a row must have
            found.append((str(result["pair"]), seeds, mine))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} is no result of `driftline lab bench gate`") from error
    pairs, seeds = {pair for pair, _, _ in found}, [seed for _, mine, _ in found for seed in mine]
    if len(pairs) > 1 or len(set(seeds)) < len(seeds):
        raise DataError("results of one pair, each seed once, can be put together")
    rows = [row for _, _, mine in found for row in mine]
    return {"pair": found[0][0], "seeds": sorted(seeds), **curve(rows), "rows": rows}


def rows_of(
    plan: Plan, models: Models, material: Material, store: ResultStore
) -> list[dict[str, Any]]:
    """The variants of every round of one seed, judged and measured."""
    first = material.segments[0][0].domain
    recorder = Recorder(models=models, material=material, plan=plan, domain=first, seed=plan.seed)
    recording = Baseline(
        name="recording",
        kind=Kind.REFERENCE,
        source="this bench",
        rule="every round goes on with its candidate as trained",
        gated=False,
        pack=recorder.pack,
    )
    run(plan, recording, models, material, {}, store, recorder.asked)
    return recorder.rows


def curve(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Share released by true gain, of clear gains that lose no source, and of clear losses."""
    gains = np.asarray([row["gain"] for row in rows], np.float64)
    source = np.asarray([row["source"] for row in rows], np.float64)
    released = np.asarray([row["released"] for row in rows], bool)
    bins = []
    for low, high in itertools.pairwise(BINS):
        inside = (gains >= low) & (gains < high)
        bins.append({"from": low, "to": high, **_share(released, inside)})
    return {
        "summary": {
            "gain": _share(released, (gains >= CLEAR_GAIN) & (source > CLEAR_LOSS)),
            "loss": _share(released, gains <= CLEAR_LOSS),
            "source_loss": _share(released, source <= CLEAR_LOSS),
        },
        "bins": bins,
    }


def _share(released: np.ndarray[Any, Any], inside: np.ndarray[Any, Any]) -> dict[str, float | int]:
    num = int(inside.sum())
    return {"num": num, "released": float(released[inside].mean()) if num else 0.0}
