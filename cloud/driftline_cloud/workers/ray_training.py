"""One distillation as a run of Ray Train with one worker, and what became of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from driftline_cloud.workers.workers import WorkersUnreachableError
from driftline_shared.errors import DriftlineError

MAX_RETRIES = 3
"""Times a worker that died is started again."""

NOT_NEEDED = "PlacementGroupCleanerCallback"
"""Ray Train's cleaner of what a killed controller leaves. It asks Ray's dashboard, which there is
none of here, and each run then ended with twelve seconds of waiting for it. Whoever meets a
`ControllerLostError` leaves the cluster instead, which gives all of it back.
"""


STALLED_S = 10.0
"""Seconds without progress after which it is looked at whether a training waits for room."""


def waits_for_room() -> bool:
    """Whether a training of the cluster has nowhere to run."""
    from ray.util import placement_group_table

    waiting = ("PENDING", "RESCHEDULING")
    return any(row["state"] in waiting for row in placement_group_table().values())


class ControllerLostError(WorkersUnreachableError):
    """What drives the training was lost, and with it, as a rule, this machine's node or the head:
    what it held is given back when this process leaves.
    """


class Training:
    """A run that goes on in a thread of its own. `device`: of the worker's models."""

    def __init__(
        self,
        loop: Callable[[Mapping[str, Any]], None],
        config: Mapping[str, Any],
        *,
        device: str,
        storage: Path,
    ) -> None:
        trainer = _trainer(loop, config, device, storage)
        self._result: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._fill, args=(trainer,), daemon=True)
        self.thread.start()

    def checkpoint(self) -> Any:
        """What the worker reported last, once the thread has ended. Raises DriftlineError where
        there is nothing.
        """
        from ray.exceptions import RayActorError

        if self._error is not None:
            kind = ControllerLostError if isinstance(self._error, RayActorError) else DriftlineError
            raise kind(f"distilling on Ray failed: {self._error}") from self._error
        if self._result.checkpoint is None:
            raise DriftlineError("distilling on Ray ended without a candidate")
        return self._result.checkpoint

    def _fill(self, trainer: Any) -> None:
        try:
            self._result = trainer.fit()
        except BaseException as error:
            self._error = error


def _trainer(
    loop: Callable[[Mapping[str, Any]], None],
    config: Mapping[str, Any],
    device: str,
    storage: Path,
) -> Any:
    """Without a process group of torch: one worker has nobody to talk to, and the controller then
    need not import torch.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    class OneWorker(DataParallelTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            found = super()._create_default_callbacks()
            return [one for one in found if type(one).__name__ != NOT_NEEDED]

    return OneWorker(
        loop,
        train_loop_config=dict(config),
        scaling_config=ScalingConfig(num_workers=1, use_gpu=device.startswith("cuda")),
        run_config=RunConfig(
            storage_path=str(storage), failure_config=FailureConfig(max_failures=MAX_RETRIES)
        ),
    )
