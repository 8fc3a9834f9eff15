"""A line of rounds without a network: all of it real but the workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from driftline_cloud.blobs.settings import StorageSettings
from driftline_cloud.config import CloudConfig
from driftline_cloud.distill.gate.rule import GateLimits
from driftline_cloud.grouping.settings import GroupingSettings
from driftline_cloud.intake.admission import Quota
from driftline_cloud.intake.database import Database
from driftline_cloud.release.choose import ChooseSettings
from driftline_cloud.rollout.plan import RolloutSettings
from driftline_cloud.rounds.coordinator import Watch
from driftline_cloud.rounds.settings import RoundSettings
from driftline_cloud.rounds.trigger import TriggerPolicy
from driftline_cloud.service.assembly import WholeCloud, assemble
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.state import StateFolder
from driftline_cloud.workers.workers import Workers
from driftline_shared.callbacks import ignore
from driftline_shared.host.clock import Clock
from driftline_shared.tokens import Sample
from driftline_shared.trace.settings import TraceSettings
from driftline_shared.wire import EncodedSample
from tests.fakes.cloud import bare_pair, fake_makers, make_sample

SETTINGS = RoundSettings(
    trigger=TriggerPolicy(round_samples=40, drift_share=0.0),
    holdout_share=0.2,
    rehearsal_samples=10,
    recall_samples=6,
    label_chunk_samples=16,
)
DWC = ChooseSettings(max_fp16_share=0.5)


def open_cloud(
    folder: Path,
    workers: Workers,
    clock: Clock,
    *,
    settings: RoundSettings = SETTINGS,
    limits: GateLimits | None = None,
    dwc: ChooseSettings = DWC,
    watch: Watch = ignore,
    trace: TraceSettings | None = None,
    rollout: RolloutSettings | None = None,
    database_url: str = "",
    database: Callable[[str], Database] = Database,
    artifacts: str = "",
    groups: bool = False,
) -> WholeCloud:
    """A cloud with its state in `folder`; opening it again is a restart. `artifacts`: the URL of
    its store. `groups`: its line may split.
    """
    folder.mkdir(exist_ok=True)
    config = CloudConfig(
        state=folder,
        database_url=database_url,
        rounds=settings,
        gate=limits or GateLimits(),
        dwc=dwc,
        rollout=rollout or RolloutSettings(),
        trace=trace or TraceSettings(),
        storage=StorageSettings(artifacts=artifacts),
        grouping=GroupingSettings(enabled=groups),
    )
    pair = bare_pair(folder.parent / "pair")
    makers = fake_makers(workers, lambda _name: pair, watch=watch, clock=clock, database=database)
    return assemble(config, StateFolder(folder), makers)


def send(cloud: Cloud, numbers: Sequence[int]) -> list[Sample]:
    """Store samples as if a device had sent them."""
    space = cloud.lines.of(cloud.first).line.token_space
    return send_samples(cloud, [make_sample(number, space) for number in numbers])


def send_samples(cloud: Cloud, samples: list[Sample], *, device_id: str = "d1") -> list[Sample]:
    """As `send`."""
    line = cloud.lines.of(cloud.first).line
    cloud.store.add(
        [EncodedSample.of(sample) for sample in samples],
        device_id=device_id,
        line=line.id,
        token_space=line.token_space.digest,
        gate_score="entropy",
        quota=Quota(),
        now_unix_s=1_700_000_000,
    )
    return samples


def run_rounds(cloud: Cloud, most_steps: int = 100) -> None:
    """Step until there is nothing to do."""
    for _ in range(most_steps):
        if not cloud.coordinator.step():
            return
    raise AssertionError("the rounds do not come to rest")


def released_files(folder: Path) -> dict[str, bytes]:
    """Every file of the registry below the state folder, by name."""
    root = folder / "releases"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
