"""What a cloud needs, in milliseconds: a pair of bare files, workers that reckon.

The workers pretend that a goal adapter exists: distilling moves towards it, scoring measures how
near an adapter is. Everything else of a round (store, ledger, packing, registry) is the real thing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, Marks, ScoreJob
from driftline_cloud.service.assembly import Makers
from driftline_cloud.workers.workers import Keep, Workers
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.p_ik.head import LEVELS, IkHead, head_to_bytes
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.tokens import Grid, Sample, TokenSpace, VisualTokens
from driftline_shared.update import Adapter, adapter_digest

WIDTH = 8
GRID = Grid(rows=4, cols=4)
_SHAPES = {"language.A": (64, 32), "language.B": (32, 64), "query.A": (32, 32)}


def make_bare_pair(folder: Path, name: str = "bare", *, weight: float = 1.0) -> Path:
    """A pair folder that `load_pair` takes: token space and gate are real, models are not."""
    for side in ("teacher", "student"):
        (folder / side).mkdir(parents=True)
        (folder / side / "config.json").write_text('{"model_type": "llava"}')
    save_file({"w": np.full(3, weight, dtype=np.float32)}, folder / "student" / "model.safetensors")
    space = {
        "low": np.full(WIDTH, -1.0, dtype=np.float32),
        "high": np.full(WIDTH, 1.0, dtype=np.float32),
        "mean": np.zeros(WIDTH, dtype=np.float32),
        "precision": np.eye(WIDTH, dtype=np.float32),
    }
    save_file(space, folder / "token_space.safetensors")
    save_file({"entropy": np.linspace(0, 1, 101, dtype=np.float32)}, folder / "gate.safetensors")
    digest = hashlib.sha256(name.encode()).hexdigest()
    (folder / "pair.toml").write_text(
        f'name = "{name}"\nprompt = "<image>{{question}}"\nmax_new_tokens = 4\n'
        f'[student]\nquantization = "none"\n'
        f'[token_space]\ndigest = "{digest}"\n'
        f"grid = {{ rows = {GRID.rows}, cols = {GRID.cols} }}\n"
    )
    return folder


def bare_pair(folder: Path) -> Pair:
    """The pair in `folder`, made there if need be."""
    return load_pair(folder if (folder / "pair.toml").exists() else make_bare_pair(folder))


def start_adapter() -> Adapter:
    """Version 0."""
    rng = np.random.default_rng(0)
    return {n: rng.normal(0, 0.1, s).astype(np.float32) for n, s in _SHAPES.items()}


def make_sample(
    number: int, space: TokenSpace, *, entropy: float = 0.95, question: str = "what is it?"
) -> Sample:
    """A sound sample whose id follows from `number`."""
    rng = np.random.default_rng(number)
    tokens = VisualTokens(
        values=rng.uniform(-1, 1, (5, WIDTH)).astype(np.float32),
        positions=np.sort(rng.permutation(GRID.num_tokens)[:5]).astype(np.int32),
        grid=GRID,
    )
    return Sample(
        id=hashlib.sha256(str(number).encode()).digest()[:16],
        question=question,
        answer="a thing",
        tokens=encode_tokens(tokens, space, "int8"),
        scores={"entropy": entropy},
        created_unix_s=1_700_000_000,
        adapter_version=0,
    )


@dataclass(kw_only=True)
class ReckoningWorkers:
    """Deterministic: results follow from the job alone. `hook` is told where the work is.

    `errors`: raised in order, one per call of `distil`. `gain`: how far distilling moves (0..1).
    """

    gain: float = 0.6
    errors: list[Exception] = field(default_factory=list)
    hook: Callable[[str], None] = ignore
    batch_size: int = 8
    num_labelled: int = 0
    num_distilled: int = 0
    jobs: list[DistillJob] = field(default_factory=list)

    def label(
        self,
        pair_dir: Path,
        samples: Sequence[Sample],
        progress: Progress,
        known: Collection[bytes] = (),
        keep: Keep = ignore,
    ) -> list[Label]:
        self.hook("label")
        asked = [one for one in samples if one.id not in known]
        found = []
        for start in range(0, len(asked), self.batch_size):
            self.hook("batch")
            labels = [self.says(one) for one in asked[start : start + self.batch_size]]
            self.num_labelled += len(labels)
            keep(labels)
            found += labels
        progress(1.0)
        return found

    def says(self, sample: Sample) -> Label:
        """What the teacher says."""
        return Label(
            sample_id=sample.id,
            text=sample.id.hex()[:4],
            tokens=(sample.id[0], 1),
            confidence=0.9,
        )

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        self.hook("distil")
        self.num_distilled += 1
        self.jobs.append(job)
        if self.errors:
            raise self.errors.pop(0)
        seen = json.dumps(
            [
                job.seed,
                [s.id.hex() for s in (*job.samples, *job.rehearsal)],
                [one.text for one in (*job.labels, *job.rehearsal_labels)],
            ]
        )
        rng = np.random.default_rng(list(hashlib.sha256(seen.encode()).digest()))
        goal = _goal()
        adapter, importance = {}, {}
        for name, array in job.start.items():
            noise = rng.normal(0, 0.01, array.shape)
            adapter[name] = (array + self.gain * (goal[name] - array) + noise).astype(np.float32)
            importance[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        progress(0.5)
        progress(1.0)
        return Distilled(adapter=adapter, importance=importance, numbers={"loss": 0.5})

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        self.hook("score")
        return [_scores(adapter, job) for adapter in adapters]

    def fit_head(self, job: DistillJob, adapter: Adapter, *, version: int) -> bytes:
        self.hook("fit_head")
        rng = np.random.default_rng(list(adapter_digest(adapter)))
        return head_to_bytes(
            IkHead(
                weights=rng.integers(-4, 5, 4).astype(np.float64),
                bias=float(len(job.samples)),
                quantiles=np.linspace(1.0, -1.0, len(LEVELS)),
                num_source=9,
                version=version,
            )
        )

    def close(self) -> None:
        return


def fake_makers(workers: Workers, pair: Callable[[str], Pair] = load_pair, **others: Any) -> Makers:
    """What `assemble` needs for a cloud of these `workers` that starts with `start_adapter`."""
    return Makers(
        pair=pair,
        workers=lambda _config: workers,
        initial=lambda _pair: start_adapter(),
        teacher=lambda _pair: "teacher-1",
        answering=lambda _config: workers,
        **others,
    )


def _goal() -> Adapter:
    rng = np.random.default_rng(1)
    return {n: a + rng.normal(0, 0.1, a.shape) for n, a in start_adapter().items()}


def _scores(adapter: Adapter, job: ScoreJob) -> GateScores:
    goal = _goal()
    error = sum(float(np.square(adapter[name] - goal[name]).sum()) for name in goal)
    size = sum(float(np.square(start_adapter()[name] - goal[name]).sum()) for name in goal)
    near = float(np.clip(1.0 - error / size, -1.0, 1.0))
    return make_scores(
        0.5 + near / 2,
        num_holdout=len(job.holdout),
        rehearsal=0.9,
        num_rehearsal=len(job.rehearsal),
    )


def make_scores(
    right: float = 0.6,
    probability: float | None = None,
    *,
    source: float = 0.95,
    rehearsal: float = 0.8,
    num_holdout: int = 100,
    num_source: int = 256,
    num_rehearsal: int = 50,
    num_steps: float = 2.0,
    finite: bool = True,
) -> GateScores:
    """Scores in which every sample of a set has the same share and probability; `probability`: of
    the held-out ones, as `right` where None.
    """
    probability = right if probability is None else probability
    return GateScores(
        holdout=Marks(right=(right,) * num_holdout, probability=(probability,) * num_holdout),
        source=Marks(right=(source,) * num_source, probability=(source,) * num_source),
        rehearsal=Marks(
            right=(rehearsal,) * num_rehearsal, probability=(rehearsal,) * num_rehearsal
        ),
        num_steps=num_steps,
        finite=finite,
    )
