"""Workers on a Ray cluster: actors label, Ray Train distils, an actor scores.

The code that runs there is the code of `LocalWorkers` on the same batches with the same thread
count, so that the results are the same bytes. A worker that dies is replaced, and the part it had
is done again. On a cluster `pair_dir` and `storage` must lead to the same files on every node.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import structlog

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.distill.examples import plan_labelling
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, Label, ScoreJob
from driftline_cloud.workers import artifacts, ray_tasks
from driftline_cloud.workers.cluster.access import Access
from driftline_cloud.workers.cluster.connection import Connection, quiet
from driftline_cloud.workers.cluster.hints import Hints
from driftline_cloud.workers.cluster.resources import cpus_for, make_room, slots
from driftline_cloud.workers.pool import Pool, WorkerLostError
from driftline_cloud.workers.ray_labellers import POLL_S, RayLabellers, result_of, start_labeller
from driftline_cloud.workers.ray_training import (
    MAX_RETRIES,
    STALLED_S,
    Training,
    waits_for_room,
)
from driftline_cloud.workers.workers import Keep, WorkersUnreachableError
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.codec.adapters import adapter_to_bytes
from driftline_shared.errors import DriftlineError
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter

_log = structlog.get_logger(__name__)

LOOK_S = 0.2
"""Seconds between two looks at how far a distillation is."""

MOST_CHECKPOINT_BYTES = 1 << 30
"""Of one that is sent to the worker."""

KEEP_WARM_S = 600.0
"""Seconds without work after which actors give back what they hold."""


class RayWorkers:
    """Does the work on Ray: on the cluster at `address`, or on one started here, on loopback.

    `access`: how this process gets into the cluster. `settings`: distil settings for labelling;
    jobs bring their own. `num_labellers`: actors that label at the same time; 0: as many as the
    cluster has room for and batches wait. They and the one that scores stay with their models until
    other work needs their place, or nothing was asked for `keep_warm_s`. `storage`: folder that
    every node sees under this path, for candidates on their way back (default: the temporary one,
    enough on one machine). `autoscale_to`: labellers that an autoscaler is asked to bring nodes
    for; 0: it is told nothing. One call at a time; after a WorkersUnreachableError the next one
    connects anew.
    """

    labeller: ClassVar[type] = ray_tasks.Labeller
    """What labels: a bench has another one."""

    def __init__(
        self,
        *,
        settings: DistilSettings | None = None,
        device: str = "cpu",
        address: str | None = None,
        access: Access | None = None,
        num_labellers: int = 0,
        storage: Path | None = None,
        keep_warm_s: float = KEEP_WARM_S,
        autoscale_to: int = 0,
    ) -> None:
        self._settings = settings or DistilSettings()
        self._device = device
        self._num_labellers = num_labellers
        self._storage = storage
        self._keep_warm_s = keep_warm_s
        self._hints = Hints(autoscale_to)
        self._turn = threading.Lock()
        self._scorer: Any = None
        self._labellers: tuple[Path, Pool[Any, Any, list[Sample], bytes]] | None = None
        self._idle: threading.Timer | None = None
        self._connection = Connection(address, access)
        self.distilling_pid: int | None = None
        with quiet():
            self._connection.open()

    def label(
        self,
        pair_dir: Path,
        samples: Sequence[Sample],
        progress: Progress,
        known: Collection[bytes] = (),
        keep: Keep = ignore,
    ) -> list[Label]:
        """See `Workers.label`: one object is one batch of the teacher."""
        batches = plan_labelling(samples, self._settings.label_batch_size, known)
        pieces = [[samples[i] for i in batch] for batch in batches]
        num_asked = sum(len(piece) for piece in pieces)
        if not pieces:
            return []
        found: dict[bytes, Label] = {}
        with self._at_work():
            resources = self._labeller_resources()
            present = min(self._num_labellers or slots(resources), len(pieces))
            # Labellers that have no place yet wait for the nodes that are asked for.
            hoped = self._hints.ask(resources, min(self._num_labellers or len(pieces), len(pieces)))
            most = max(present, hoped)
            pool = self._pool(pair_dir)
            if len(pool) < present:
                make_room(resources, [self._drop_scorer])
            for _, data in pool.run(pieces, most, _tell_lost):
                labels = ray_tasks.labels_of(data)
                keep(labels)
                found |= {label.sample_id: label for label in labels}
                progress(len(found) / num_asked)
        return [found[sample.id] for sample in samples if sample.id in found]

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        """See `Workers.distil`: a run of Ray Train with one worker. Its checkpoints come here by
        the panel, so that no node needs to see where they are kept.
        """
        import ray

        with self._at_work(), ExitStack() as stack:
            self._hints.ask(self._resources(), 1)
            make_room(self._resources(), [self._drop_scorer, *self._labellers_in_turn()])
            if self._storage is not None:
                self._storage.mkdir(parents=True, exist_ok=True)
            storage = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._storage)))
            before = None if checkpoints is None else checkpoints.load(MOST_CHECKPOINT_BYTES)
            panel = self._panel(before)
            stack.callback(ray.kill, panel)
            message = ray_tasks.distill_job_to_message(job, put=ray.put)
            config = {
                "job": message,
                "panel": panel,
                "device": self._device,
                "checkpoint_s": None if checkpoints is None else checkpoints.every_s,
            }
            training = Training(ray_tasks.train_loop, config, device=self._device, storage=storage)
            try:
                self._watch(panel, training.thread, progress, checkpoints)
            except WorkersUnreachableError:
                raise  # with nobody there, nothing ends the thread
            except BaseException:
                # The worker asks the panel at each step and ends by itself.
                ray.get(panel.stop.remote())
                training.thread.join()
                raise
            with training.checkpoint().as_directory() as folder:
                distilled = artifacts.load_distilled(FolderStore(Path(folder)))
        if distilled is None:
            raise DriftlineError("distilling on Ray ended with a candidate that cannot be read")
        return distilled

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        """See `Workers.score`: an actor keeps the models between calls."""
        import ray

        with self._at_work():
            rows = self._result(
                self._scoring().score.remote(
                    ray_tasks.score_job_to_message(job),
                    [ray.put(adapter_to_bytes(adapter)) for adapter in adapters],
                )
            )
        return [ray_tasks.scores_from_plain(row) for row in rows]

    def fit_head(self, job: DistillJob, adapter: Adapter, *, version: int) -> bytes:
        """See `Workers.fit_head`: by the actor that scores."""
        import ray

        with self._at_work():
            found: bytes = self._result(
                self._scoring().fit_head.remote(
                    ray_tasks.distill_job_to_message(job, put=ray.put),
                    ray.put(adapter_to_bytes(adapter)),
                    version,
                )
            )
        return found

    def labelling_pids(self) -> list[int]:
        """Process ids of the labellers that are ready."""
        with self._turn:
            ready = () if self._labellers is None else self._labellers[1].ready
            return [self._result(each.load.remote()) for each in ready]

    def close(self) -> None:
        """Let the actors go, and the cluster when it was started here."""
        with self._turn, quiet():
            self._stop_idle()
            self._let_go()
            self._connection.close()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """The turn, on a cluster that is there; afterwards the actors stay warm for a while."""
        with self._turn, quiet():
            self._stop_idle()
            self._connection.open()
            try:
                yield
            except WorkersUnreachableError:
                self._scorer = self._labellers = None  # gone with what they were on
                self._hints.forget()
                self._connection.close()
                raise
            finally:
                self._idle = threading.Timer(self._keep_warm_s, self._rest)
                self._idle.daemon = True
                self._idle.start()

    def _stop_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _rest(self) -> None:
        with self._turn:
            # A call that came meanwhile has made this timer void.
            if self._idle is threading.current_thread():
                self._let_go()

    def _let_go(self) -> None:
        self._hints.release()
        self._drop_scorer()
        if self._labellers is not None:
            self._labellers[1].shrink(0)
            self._labellers = None

    def _is_warm(self) -> bool:
        return self._scorer is not None or (
            self._labellers is not None and len(self._labellers[1]) > 0
        )

    def _drop_scorer(self) -> None:
        import ray

        if self._scorer is not None:
            ray.kill(self._scorer)
            self._scorer = None

    def _labellers_in_turn(self) -> list[Callable[[], None]]:
        """What takes one labeller away each."""
        if self._labellers is None:
            return []
        pool = self._labellers[1]
        return [lambda: pool.shrink(len(pool) - 1)] * len(pool)

    def _pool(self, pair_dir: Path) -> Pool[Any, Any, list[Sample], bytes]:
        if self._labellers is None or self._labellers[0] != pair_dir:
            if self._labellers is not None:
                self._labellers[1].shrink(0)
            settings, resources = self._settings.to_mapping(), self._labeller_resources()
            kind = self.labeller
            backend = RayLabellers(
                lambda: start_labeller(kind, str(pair_dir), settings, self._device, resources),
                self._connection.check,
            )
            self._labellers = (pair_dir, Pool(backend))
        return self._labellers[1]

    def _scoring(self) -> Any:
        """The actor that scores, started at the first call; the caller has the turn."""
        import ray

        if self._scorer is None:
            resources = self._resources()
            make_room(resources, self._labellers_in_turn())
            self._scorer = ray.remote(
                max_restarts=MAX_RETRIES, max_task_retries=MAX_RETRIES, **resources
            )(ray_tasks.Scorer).remote(self._device)
        return self._scorer

    def _result(self, ref: Any) -> Any:
        """What is there when it is; an error of ours where its worker was lost too often."""
        import ray

        while not ray.wait([ref], timeout=POLL_S)[0]:
            self._connection.check()
        try:
            return result_of(ref)
        except WorkerLostError as error:
            raise DriftlineError(f"work on Ray was lost with its worker: {error}") from error

    def _panel(self, checkpoint: bytes | None) -> Any:
        """On this machine: lost with this process, not with a node that works."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = ray.get_runtime_context().get_node_id()
        strategy = NodeAffinitySchedulingStrategy(node_id=here, soft=False)
        kind = ray.remote(num_cpus=0, scheduling_strategy=strategy)(ray_tasks.Panel)
        return kind.remote(checkpoint)

    def _watch(
        self,
        panel: Any,
        thread: threading.Thread,
        progress: Progress,
        checkpoints: Checkpoints | None,
    ) -> None:
        """Report how far the worker is, and keep its checkpoints, until it ends."""
        reported, num_kept, moved_s = 0.0, 0, time.monotonic()
        while thread.is_alive():
            thread.join(LOOK_S)
            self.distilling_pid, share, num_there = self._result(panel.read.remote())
            self._connection.check()
            if share > reported or num_there > num_kept:
                moved_s = time.monotonic()
            elif time.monotonic() - moved_s > STALLED_S:
                moved_s = time.monotonic()
                if self._is_warm() and waits_for_room():
                    # A node was lost: what is warm on the others has the only places left.
                    self._let_go()
            if checkpoints is not None and num_there > num_kept:
                checkpoints.save(self._result(panel.checkpoint.remote()))
                num_kept = num_there
            if share > reported:
                reported = share
                progress(share)

    def _resources(self) -> dict[str, float]:
        return {"num_cpus": 1, "num_gpus": 1 if self._device.startswith("cuda") else 0}

    def _labeller_resources(self) -> dict[str, float]:
        """A CPU for each of its threads, as far as a node has so many."""
        return {**self._resources(), "num_cpus": cpus_for(self._settings.threads)}


def _tell_lost(num_batches: int) -> None:
    _log.warning("labeller.lost", batches_again=num_batches)
