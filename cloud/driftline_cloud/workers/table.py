"""Which workers there are: one explicit table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.workers.cluster.access import Access
from driftline_cloud.workers.workers import Workers
from driftline_shared.errors import ConfigError

KINDS = ("local", "ray")


def make_workers(
    kind: str,
    *,
    settings: DistilSettings | None = None,
    device: str = "cpu",
    ray_address: str | None = None,
    ray_access: Access | None = None,
    num_labellers: int = 0,
    keep_warm_s: float = 600.0,
    ray_storage: Path | None = None,
    autoscale_to: int = 0,
) -> Workers:
    """Workers of that kind. `settings`: distil settings for labelling.

    `ray_address`, `ray_access`, `num_labellers`, `ray_storage`, `keep_warm_s`,
    `autoscale_to`: see `RayWorkers`. Raises ConfigError for an unknown kind.
    """
    table: Mapping[str, Callable[[], Workers]] = {
        "local": lambda: _local(settings, device),
        "ray": lambda: _ray(
            settings,
            device,
            ray_address,
            ray_access,
            num_labellers,
            ray_storage,
            keep_warm_s,
            autoscale_to,
        ),
    }
    if kind not in table:
        raise ConfigError(
            f"workers {kind!r} are not known; there are {', '.join(KINDS)}",
            fix=f"Say --workers {' or --workers '.join(KINDS)}.",
        )
    return table[kind]()


def _local(settings: DistilSettings | None, device: str) -> Workers:
    from driftline_cloud.workers.local import LocalWorkers

    return LocalWorkers(settings=settings, device=device)


def _ray(
    settings: DistilSettings | None,
    device: str,
    address: str | None,
    access: Access | None,
    num_labellers: int,
    storage: Path | None,
    keep_warm_s: float,
    autoscale_to: int,
) -> Workers:
    from driftline_cloud.workers.ray import RayWorkers

    return RayWorkers(
        settings=settings,
        device=device,
        address=address,
        access=access,
        num_labellers=num_labellers,
        storage=storage,
        keep_warm_s=keep_warm_s,
        autoscale_to=autoscale_to,
    )
