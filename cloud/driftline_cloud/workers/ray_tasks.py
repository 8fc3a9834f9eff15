"""What runs inside Ray's processes, and its messages: plain values and Arrow tables."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.jobs import DistillJob, GateScores, Label, Marks, ScoreJob
from driftline_cloud.workers import artifacts, transfer
from driftline_shared.callbacks import ignore
from driftline_shared.codec.adapters import adapter_from_bytes, adapter_to_bytes
from driftline_shared.program.process import set_up_process
from driftline_shared.tokens import Sample

if TYPE_CHECKING:
    from driftline_cloud.workers.local import LocalWorkers

Put = Callable[[Any], Any]
"""Stores a value in Ray's object store and gives a reference to it."""


def batch_bytes(samples: Sequence[Sample]) -> bytes:
    """One batch of the teacher: the samples' tables in Arrow's own stream format."""
    return _to_bytes(transfer.samples_to_tables(samples))


def samples_of(data: bytes) -> list[Sample]:
    """What `batch_bytes` was given."""
    return transfer.samples_from_tables([_read(data)])


def labels_to_bytes(labels: Sequence[Label]) -> bytes:
    """One batch's labels, as they come back."""
    return _to_bytes([transfer.labels_to_table(labels)])


def labels_of(data: bytes) -> list[Label]:
    """What `labels_to_bytes` was given."""
    return transfer.labels_from_table(_read(data))


class Labeller:
    """An actor with a teacher, loaded once, that labels batch after batch."""

    def __init__(self, pair_dir: str, settings: Mapping[str, object], device: str) -> None:
        self._pair_dir = Path(pair_dir)
        self._workers = _local_workers(device, DistilSettings.from_mapping(settings))

    def load(self) -> int:
        """Load the models; the process id."""
        self._workers.load(self._pair_dir)
        return os.getpid()

    def label(self, data: bytes) -> bytes:
        """The batch of `batch_bytes` -> its labels."""
        labels = self._workers.label(self._pair_dir, samples_of(data), ignore)
        return labels_to_bytes(labels)


class Panel:
    """An actor between the distilling worker and the process that waits for it. `checkpoint`: what
    the training goes on from.
    """

    def __init__(self, checkpoint: bytes | None = None) -> None:
        self._pid: int | None = None
        self._share = 0.0
        self._stopped = False
        self._checkpoint = checkpoint
        self._num_kept = 0

    def write(self, pid: int, share: float) -> bool:
        """The worker is so far; True when it shall stop."""
        self._pid, self._share = pid, share
        return self._stopped

    def read(self) -> tuple[int | None, float, int]:
        """(process id of the worker, share done, how many checkpoints came)."""
        return self._pid, self._share, self._num_kept

    def keep(self, checkpoint: bytes) -> None:
        """The worker's newest checkpoint: a worker that follows it goes on from there."""
        self._checkpoint = checkpoint
        self._num_kept += 1

    def checkpoint(self) -> bytes | None:
        """The newest; None where there is none."""
        return self._checkpoint

    def stop(self) -> None:
        """Nobody waits for the result any more."""
        self._stopped = True


class PanelCheckpoints:
    """See `Checkpoints`: on the panel, whose process outlives the worker's node."""

    def __init__(self, panel: Any, every_s: float) -> None:
        self._panel = panel
        self.every_s = every_s

    def load(self, most_bytes: int) -> bytes | None:
        """See `Checkpoints`; who filled the panel has bounded it."""
        import ray

        found: bytes | None = ray.get(self._panel.checkpoint.remote())
        return found if found is None or len(found) <= most_bytes else None

    def save(self, content: bytes) -> None:
        """See `Checkpoints`."""
        import ray

        ray.get(self._panel.keep.remote(content))


class _StoppedError(Exception):
    """The panel asked to stop."""


def train_loop(config: Mapping[str, Any]) -> None:
    """The loop of Ray Train's worker: one distillation, handed back as a checkpoint."""
    import ray
    import ray.train

    panel = config["panel"]

    def report(share: float) -> None:
        if ray.get(panel.write.remote(os.getpid(), share)):
            raise _StoppedError

    job = distill_job_from_message(config["job"], get=ray.get)
    every_s = config["checkpoint_s"]
    checkpoints = None if every_s is None else PanelCheckpoints(panel, every_s)
    try:
        report(0.0)
        distilled = _local_workers(config["device"]).distil(job, report, checkpoints)
    except _StoppedError:
        return
    with tempfile.TemporaryDirectory() as folder:
        artifacts.save_distilled(FolderStore(Path(folder)), distilled)
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({}, checkpoint=checkpoint)


class Scorer:
    """An actor that scores adapters; the models stay loaded between calls."""

    def __init__(self, device: str) -> None:
        self._workers = _local_workers(device)

    def score(self, message: Mapping[str, Any], adapters: Sequence[Any]) -> list[dict[str, Any]]:
        """`GateScores` as plain dicts, in the order of `adapters` (references to safetensors)."""
        import ray

        job = score_job_from_message(message)
        loaded = [adapter_from_bytes(ray.get(one)) for one in adapters]
        return [asdict(scores) for scores in self._workers.score(job, loaded)]

    def fit_head(self, message: Mapping[str, Any], adapter: bytes, version: int) -> bytes:
        """A P(IK) head's bytes; `adapter` as safetensors."""
        import ray

        job = distill_job_from_message(message, get=ray.get)
        return self._workers.fit_head(job, adapter_from_bytes(adapter), version=version)


def scores_from_plain(row: Mapping[str, Any]) -> GateScores:
    """What `asdict` was given."""
    sets = {name: Marks(**row[name]) for name in ("holdout", "source", "rehearsal")}
    return GateScores(**{**row, **sets})


def distill_job_to_message(job: DistillJob, *, put: Put) -> dict[str, Any]:
    """A job as plain values; what is large goes to the object store in bounded pieces."""
    return {
        "pair_dir": str(job.pair_dir),
        "seed": job.seed,
        "start": put(adapter_to_bytes(job.start)),
        "samples": [put(table) for table in transfer.samples_to_tables(job.samples)],
        "labels": put(transfer.labels_to_table(job.labels)),
        "rehearsal": [put(table) for table in transfer.samples_to_tables(job.rehearsal)],
        "rehearsal_labels": put(transfer.labels_to_table(job.rehearsal_labels)),
        "settings": dict(job.settings),
    }


def distill_job_from_message(
    message: Mapping[str, Any], *, get: Callable[[Any], Any]
) -> DistillJob:
    """What `distill_job_to_message` was given."""
    return DistillJob(
        pair_dir=Path(message["pair_dir"]),
        seed=message["seed"],
        start=adapter_from_bytes(get(message["start"])),
        samples=transfer.samples_from_tables([get(one) for one in message["samples"]]),
        labels=transfer.labels_from_table(get(message["labels"])),
        rehearsal=transfer.samples_from_tables([get(one) for one in message["rehearsal"]]),
        rehearsal_labels=transfer.labels_from_table(get(message["rehearsal_labels"])),
        settings=message["settings"],
    )


def score_job_to_message(job: ScoreJob) -> dict[str, Any]:
    """A score job as plain values and tables."""
    return {
        "pair_dir": str(job.pair_dir),
        "holdout": transfer.samples_to_tables(job.holdout),
        "labels": transfer.labels_to_table(job.labels),
        "rehearsal": transfer.samples_to_tables(job.rehearsal),
        "rehearsal_labels": transfer.labels_to_table(job.rehearsal_labels),
        "questions": job.questions,
        "seed": job.seed,
        "settings": dict(job.settings),
    }


def score_job_from_message(message: Mapping[str, Any]) -> ScoreJob:
    """What `score_job_to_message` was given."""
    return ScoreJob(
        pair_dir=Path(message["pair_dir"]),
        holdout=transfer.samples_from_tables(message["holdout"]),
        labels=transfer.labels_from_table(message["labels"]),
        rehearsal=transfer.samples_from_tables(message["rehearsal"]),
        rehearsal_labels=transfer.labels_from_table(message["rehearsal_labels"]),
        questions=message["questions"],
        seed=message["seed"],
        settings=message["settings"],
    )


def _local_workers(device: str, settings: DistilSettings | None = None) -> LocalWorkers:
    """What does the work, in a process that Ray started: on a cluster it has another environment
    than the cloud's own.
    """
    set_up_process()
    from driftline_cloud.workers.local import LocalWorkers

    return LocalWorkers(settings=settings, device=device)


def _read(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(pa.py_buffer(data)).read_all()


def _to_bytes(tables: Sequence[pa.Table]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found
