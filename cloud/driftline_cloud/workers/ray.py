"""Workers on a Ray cluster: Ray Data labels, Ray Train distils, an actor scores.

The code that runs there is the code of `LocalWorkers` on the same batches with the same thread
count, so that the results are the same bytes. A worker that dies is started again by Ray, and
its part is done again from the beginning. On a cluster `pair_dir` and `storage` must lead to the
same files on every node.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import structlog

from driftline_cloud.distill.examples import plan_batches
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, ScoreJob
from driftline_cloud.workers import artifacts, ray_tasks
from driftline_cloud.workers.cluster.access import Access
from driftline_cloud.workers.connection import connect, quiet
from driftline_shared.callbacks import Progress
from driftline_shared.codec.adapters import adapter_to_bytes
from driftline_shared.errors import DriftlineError
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter

_log = structlog.get_logger(__name__)

MAX_RETRIES = 3
"""Times a worker that died is started again."""

POLL_S = 0.2
"""Seconds between two looks at how far a distillation is."""


class RayWorkers:
    """Does the work on Ray: on the cluster at `address`, or on one started here, on loopback.

    `settings`: distil settings for labelling; jobs bring their own. `num_labellers`: actors that
    label at the same time. `storage`: folder that every node sees under this path, for candidates
    on their way back (default: the temporary one, enough on one machine). One call at a time.
    """

    def __init__(
        self,
        *,
        settings: DistilSettings | None = None,
        device: str = "cpu",
        address: str | None = None,
        access: Access | None = None,
        num_labellers: int = 1,
        storage: Path | None = None,
    ) -> None:
        self._settings = settings or DistilSettings()
        self._device = device
        self._num_labellers = num_labellers
        self._storage = storage
        self._turn = threading.Lock()
        self._scorer: Any = None
        self._closing = ExitStack()
        self.distilling_pid: int | None = None
        with quiet():
            connect(address, access, self._closing)
            _set_up_data()

    def label(self, pair_dir: Path, samples: Sequence[Sample], progress: Progress) -> list[Label]:
        """See `Workers.label`: one Ray Data row, and one object, is one batch of the teacher."""
        import ray.data

        sizes = [(sample.tokens.num_tokens, len(sample.question)) for sample in samples]
        batches = plan_batches(sizes, self._settings.label_batch_size)
        tables = [ray_tasks.batch_table([samples[i] for i in batch]) for batch in batches]
        if not tables:
            return []
        with self._turn, quiet():
            data = ray.data.from_arrow(tables).map_batches(
                ray_tasks.Labeller,
                fn_constructor_args=(str(pair_dir), self._settings.to_mapping(), self._device),
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=min(self._num_labellers, len(tables))),
                **self._resources(),
            )
            found: dict[bytes, Label] = {}
            for block in data.iter_batches(batch_size=1, batch_format="pyarrow"):
                labels = ray_tasks.labels_of(block)
                found |= {label.sample_id: label for label in labels}
                progress(len(found) / len(samples))
        return [found[sample.id] for sample in samples]

    def distil(self, job: DistillJob, progress: Progress) -> Distilled:
        """See `Workers.distil`: a TorchTrainer with one worker."""
        import ray

        with self._turn, quiet(), ExitStack() as stack:
            if self._storage is not None:
                self._storage.mkdir(parents=True, exist_ok=True)
            storage = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._storage)))
            panel = ray.remote(num_cpus=0)(ray_tasks.Panel).remote()
            stack.callback(ray.kill, panel)
            trainer = self._trainer(job, panel, storage)
            outcome = _Outcome()
            thread = threading.Thread(target=outcome.fill, args=(trainer,), daemon=True)
            thread.start()
            try:
                self._watch(panel, thread, progress)
            except BaseException:
                # The worker asks the panel at each step and ends by itself.
                ray.get(panel.stop.remote())
                thread.join()
                raise
            result = outcome.result()
            with result.checkpoint.as_directory() as folder:
                distilled = artifacts.load_distilled(Path(folder))
        if distilled is None:
            raise DriftlineError("distilling on Ray ended with a candidate that cannot be read")
        return distilled

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        """See `Workers.score`: an actor keeps the models between calls."""
        import ray

        with self._turn, quiet():
            rows = ray.get(
                self._scoring().score.remote(
                    ray_tasks.score_job_to_message(job),
                    [ray.put(adapter_to_bytes(adapter)) for adapter in adapters],
                )
            )
        return [ray_tasks.scores_from_plain(row) for row in rows]

    def fit_head(self, job: DistillJob, adapter: Adapter, *, version: int) -> bytes:
        """See `Workers.fit_head`: by the actor that scores."""
        import ray

        with self._turn, quiet():
            found: bytes = ray.get(
                self._scoring().fit_head.remote(
                    ray_tasks.distill_job_to_message(job, put=ray.put),
                    ray.put(adapter_to_bytes(adapter)),
                    version,
                )
            )
        return found

    def _scoring(self) -> Any:
        """The actor that scores, started at the first call; the caller has the turn."""
        import ray

        if self._scorer is None:
            # No CPU is asked for: it only works while this process waits for it, and a cluster of
            # one core could otherwise never give the trainer its own.
            resources = {**self._resources(), "num_cpus": 0}
            self._scorer = ray.remote(
                max_restarts=MAX_RETRIES, max_task_retries=MAX_RETRIES, **resources
            )(ray_tasks.Scorer).remote(self._device)
        return self._scorer

    def close(self) -> None:
        """Let the actors go, and the cluster when it was started here."""
        with self._turn, quiet():
            self._scorer = None
            self._closing.close()

    def _trainer(self, job: DistillJob, panel: Any, storage: Path) -> Any:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        message = ray_tasks.distill_job_to_message(job, put=ray.put)
        return TorchTrainer(
            ray_tasks.train_loop,
            train_loop_config={"job": message, "panel": panel, "device": self._device},
            scaling_config=ScalingConfig(num_workers=1, use_gpu=self._device.startswith("cuda")),
            run_config=RunConfig(
                storage_path=str(storage),
                failure_config=FailureConfig(max_failures=MAX_RETRIES),
            ),
        )

    def _watch(self, panel: Any, thread: threading.Thread, progress: Progress) -> None:
        """Report how far the worker is until it ends."""
        import ray

        reported = 0.0
        while thread.is_alive():
            thread.join(POLL_S)
            self.distilling_pid, share = ray.get(panel.read.remote())
            if share > reported:
                reported = share
                progress(share)

    def _resources(self) -> dict[str, float]:
        return {"num_cpus": 1, "num_gpus": 1 if self._device.startswith("cuda") else 0}


class _Outcome:
    """What became of `trainer.fit()`, carried from its thread."""

    def __init__(self) -> None:
        self._result: Any = None
        self._error: BaseException | None = None

    def fill(self, trainer: Any) -> None:
        try:
            self._result = trainer.fit()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        if self._error is not None:
            raise DriftlineError(f"distilling on Ray failed: {self._error}") from self._error
        if self._result.checkpoint is None:
            raise DriftlineError("distilling on Ray ended without a candidate")
        return self._result


def _set_up_data() -> None:
    import logging

    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
