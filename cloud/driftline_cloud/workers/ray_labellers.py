"""Labellers as Ray actors: the edge below `pool`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from driftline_cloud.workers.pool import WorkerLostError
from driftline_cloud.workers.ray_tasks import batch_bytes
from driftline_shared.tokens import Sample

POLL_S = 1.0
"""Seconds after which nothing having come is looked at."""


class RayLabellers:
    """`Backend` of actors that label. `check`: called when nothing came for a while; may raise."""

    def __init__(
        self,
        make: Callable[[], Any],
        check: Callable[[], None],
    ) -> None:
        self._make = make
        self._check = check

    def start(self) -> tuple[Any, Any]:
        """See `Backend`: ready when its models are loaded."""
        actor = self._make()
        return actor, actor.load.remote()

    def give(self, worker: Any, piece: Sequence[Sample]) -> Any:
        """See `Backend`: as bytes only now, so that what waits is held once."""
        return worker.label.remote(batch_bytes(piece))

    def wait(self, refs: Sequence[Any]) -> Sequence[Any]:
        """See `Backend`."""
        import ray

        # In one look: results of all that are there, and only then is anything given out.
        there, _ = ray.wait(list(refs), num_returns=1, timeout=POLL_S)
        if not there:
            self._check()
        return there

    def result(self, ref: Any) -> Any:
        """See `Backend`."""
        return result_of(ref)

    def stop(self, worker: Any) -> None:
        """See `Backend`."""
        import ray

        ray.kill(worker)


def result_of(ref: Any) -> Any:
    """What is there; WorkerLostError where its worker is gone, else what the code there raised."""
    import ray
    from ray import exceptions

    try:
        return ray.get(ref)
    except exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from error
    except (
        exceptions.RayActorError,
        exceptions.WorkerCrashedError,
        exceptions.ObjectLostError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.ActorUnschedulableError,
    ) as error:
        raise WorkerLostError(str(error).splitlines()[0]) from error


def start_labeller(kind: Any, pair_dir: str, settings: Any, device: str, resources: Any) -> Any:
    """A new actor of `kind` (`ray_tasks.Labeller`). Ray does not restart it: another one is
    started, where there is room.
    """
    import ray

    return ray.remote(max_restarts=0, **resources)(kind).remote(pair_dir, settings, device)
