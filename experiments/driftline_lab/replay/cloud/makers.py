"""A cloud for a replay: the real parts, with a virtual clock, and work that is remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from driftline_cloud.config import CloudConfig, load_config
from driftline_cloud.intake.database import Database
from driftline_cloud.service.assembly import (
    Makers,
    initial_adapter,
    workers_of,
)
from driftline_cloud.workers.workers import Workers
from driftline_lab.replay.cache.candidates import kept_adapter
from driftline_lab.replay.cache.models import models_digest
from driftline_lab.replay.cache.store import ResultStore
from driftline_lab.replay.cache.workers import CachedWorkers
from driftline_shared.host.clock import Clock
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.update import Adapter


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudPlan:
    """What a replay's cloud is made from; plain values, so that another process can have them.

    `settings`: dotted key -> value, as `--set` of `driftline cloud serve` takes them; its `state`
    and `pair` among them. `cache`: folder of results; None: nothing is remembered.
    """

    settings: Mapping[str, object]
    cache: Path | None
    cache_bytes: int

    def config(self) -> CloudConfig:
        """The configuration. Raises ConfigError for a wrong key or value."""
        return load_config(None, self.settings, environment={})


class Remembered:
    """What a replay works out, through its cache: workers, version 0. `hits`: what came from it."""

    def __init__(
        self, plan: CloudPlan, make: Callable[[CloudConfig], Workers] = workers_of
    ) -> None:
        self._plan = plan
        self._make = make
        self._cached: CachedWorkers | None = None

    def workers(self, config: CloudConfig) -> Workers:
        """The workers of a cloud; they let the cache go when they are closed."""
        workers = self._make(config)
        if self._plan.cache is None:
            return workers
        models = models_digest(load_pair(config.pair))
        self._cached = CachedWorkers(workers, self._open(self._plan.cache), models=models)
        return self._cached

    def initial(self, pair: Pair) -> Adapter:
        """Version 0 of `pair`: what the model would have to be loaded for."""
        if self._plan.cache is None:
            return initial_adapter(pair)
        store = self._open(self._plan.cache)
        try:
            return kept_adapter(store, models_digest(pair), lambda: initial_adapter(pair))
        finally:
            store.close()

    @property
    def hits(self) -> dict[str, int]:
        """Results that came from the cache, and those that were made, by name."""
        return {} if self._cached is None else asdict(self._cached.hits)

    def _open(self, folder: Path) -> ResultStore:
        return ResultStore(folder, max_bytes=self._plan.cache_bytes)


def replay_makers(remembered: Remembered, clock: Clock) -> Makers:
    """What `assemble` needs; nobody pulls the plug of a replay, so its writes wait for no disk."""
    return Makers(
        workers=remembered.workers,
        initial=remembered.initial,
        clock=clock,
        database=partial(Database, durable=False),
    )
