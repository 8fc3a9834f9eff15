"""Workers that remember: a label, a candidate or a score that was worked out before is taken from
the cache.

The key of a result is a digest of everything that it depends on: for a label the pair's models,
the bytes of the tokens, the regions and the question; for a candidate or a score the whole job.
Labels of a first run are made in batches; a batch's other rows may move a sum by its last bit, so
a label taken from a run that batched otherwise may differ in the last digits of its confidence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, ScoreJob
from driftline_cloud.workers.workers import Keep, Workers
from driftline_lab.replay.cache.candidates import distilled_from_bytes, distilled_to_bytes
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter, adapter_digest
from driftline_shared.wire import dump_sample

_LABEL = TypeAdapter(Label)
_SCORES = TypeAdapter(GateScores)


@dataclass(kw_only=True)
class Hits:
    """What came from the cache, and what had to be worked out."""

    labels_kept: int = 0
    labels_made: int = 0
    jobs_kept: int = 0
    jobs_made: int = 0


class CachedWorkers:
    """The `Workers` protocol: `workers` where `store` has nothing. `models`: digest of the pair's
    models and sets, and of the software that runs them. Closing lets both go.
    """

    def __init__(self, workers: Workers, store: ResultStore, *, models: str) -> None:
        self._workers = workers
        self._store = store
        self._models = models
        self.hits = Hits()

    def label(
        self,
        pair_dir: Path,
        samples: Sequence[Sample],
        progress: Progress,
        known: Collection[bytes] = (),
        keep: Keep = ignore,
    ) -> list[Label]:
        """See `Workers.label`."""
        samples = [one for one in samples if one.id not in known]
        keys = [self._label_key(sample) for sample in samples]
        kept = self._store.get(list(dict.fromkeys(keys)))
        missing = [s for s, key in zip(samples, keys, strict=True) if key not in kept]
        made = self._workers.label(pair_dir, missing, progress) if missing else []
        new = {
            self._label_key(sample): _LABEL.dump_json(_anonymous(label))
            for sample, label in zip(missing, made, strict=True)
        }
        if new:
            self._store.put(new)
        self.hits.labels_kept += len(samples) - len(missing)
        self.hits.labels_made += len(missing)
        progress(1.0)
        by_id = {label.sample_id: label for label in made}
        labels = [
            by_id[sample.id] if sample.id in by_id else _label_of(sample, kept[key])
            for sample, key in zip(samples, keys, strict=True)
        ]
        keep(labels)
        return labels

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        """See `Workers.distil`."""
        key = self._job_key("distil", _described(job))
        kept = self._store.get([key]).get(key)
        found = None if kept is None else distilled_from_bytes(kept)
        if found is not None:
            self.hits.jobs_kept += 1
            progress(1.0)
            return found
        self.hits.jobs_made += 1
        made = self._workers.distil(job, progress, checkpoints)
        body = distilled_to_bytes(made)
        self._store.put({key: body})
        # What a later run reads is what this run goes on with.
        return distilled_from_bytes(body) or made

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        """See `Workers.score`."""
        described = _described(job)
        keys = [self._job_key("score", described, adapter_digest(one)) for one in adapters]
        kept = self._store.get(list(dict.fromkeys(keys)))
        missing = {k: one for k, one in zip(keys, adapters, strict=True) if k not in kept}
        made = self._workers.score(job, list(missing.values())) if missing else []
        scores = {key: _SCORES.validate_json(body) for key, body in kept.items()}
        scores |= dict(zip(missing, made, strict=True))
        if made:
            new = {key: json.dumps(asdict(scores[key])).encode() for key in missing}
            self._store.put(new)
        self.hits.jobs_kept += len(adapters) - len(missing)
        self.hits.jobs_made += len(missing)
        return [scores[key] for key in keys]

    def fit_head(self, job: DistillJob, adapter: Adapter, *, version: int) -> bytes:
        """See `Workers.fit_head`; made each time."""
        return self._workers.fit_head(job, adapter, version=version)

    def close(self) -> None:
        """Let models and file go."""
        self._workers.close()
        self._store.close()

    def _label_key(self, sample: Sample) -> bytes:
        digest = hashlib.sha256(f"label\0{self._models}\0{sample.question}\0".encode())
        digest.update(_content(sample))
        return digest.digest()

    def _job_key(self, kind: str, *parts: bytes) -> bytes:
        digest = hashlib.sha256(f"{kind}\0{self._models}\0".encode())
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()


def _content(sample: Sample) -> bytes:
    tokens, regions = sample.tokens, sample.regions
    digest = hashlib.sha256(f"{tokens.codec}\0{tokens.num_tokens}\0{tokens.grid}\0".encode())
    digest.update(len(tokens.payload).to_bytes(8, "big") + tokens.payload)
    if regions is not None:
        shape = f"{regions.layout}\0{regions.height}\0{regions.width}\0{len(regions.thumbnail)}\0"
        digest.update(shape.encode() + regions.thumbnail + regions.crops)
    return digest.digest()


def _described(job: DistillJob | ScoreJob) -> bytes:
    """A digest of everything a job depends on, beside the pair's models."""
    digest = hashlib.sha256(json.dumps(job.settings, sort_keys=True, default=str).encode())
    if isinstance(job, DistillJob):
        digest.update(f"\0{job.seed}\0".encode() + adapter_digest(job.start))
        fresh, fresh_labels = job.samples, job.labels
    else:
        fresh, fresh_labels = job.holdout, job.labels
        digest.update(json.dumps([job.questions, job.seed]).encode())
    for samples, labels in ((fresh, fresh_labels), (job.rehearsal, job.rehearsal_labels)):
        digest.update(len(samples).to_bytes(8, "big"))
        for sample, label in zip(samples, labels, strict=True):
            body = dump_sample(sample)
            digest.update(len(body).to_bytes(8, "big") + body)
            text = json.dumps([label.text, list(label.tokens), label.confidence]).encode()
            digest.update(len(text).to_bytes(8, "big") + text)
    return digest.digest()


def _anonymous(label: Label) -> Label:
    return replace(label, sample_id=b"")


def _label_of(sample: Sample, body: bytes) -> Label:
    return replace(_LABEL.validate_json(body), sample_id=sample.id)
