"""A line of rounds without a network: all of it real but the workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftline_cloud.distill.gate import GateLimits
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.intake.admission import Quota
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.line import Line
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.release.choose import ChooseSettings
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rounds.coordinator import Coordinator, Watch
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.releases import Releases
from driftline_cloud.rounds.settings import RoundSettings
from driftline_cloud.rounds.trigger import TriggerPolicy
from driftline_cloud.rounds.work import RoundWork
from driftline_cloud.workers.workers import Workers
from driftline_shared.host.clock import Clock
from driftline_shared.tokens import Sample
from driftline_shared.wire import EncodedSample
from tests.fakes.cloud import bare_pair, make_sample, start_adapter

SETTINGS = RoundSettings(
    trigger=TriggerPolicy(round_samples=40, drift_share=0.0),
    holdout_share=0.2,
    rehearsal_samples=10,
    recall_samples=6,
    label_chunk_samples=16,
)


@dataclass(frozen=True, kw_only=True)
class RoundsBench:
    """Everything of one line, for tests to look into."""

    line: Line
    database: Database
    store: SampleStore
    ledger: RoundLedger
    registry: ReleaseRegistry
    releases: Releases
    coordinator: Coordinator
    folder: Path

    def send(self, numbers: Sequence[int]) -> list[Sample]:
        """Store samples as if a device had sent them."""
        samples = [make_sample(number, self.line.token_space) for number in numbers]
        self.store.add(
            [EncodedSample.of(sample) for sample in samples],
            device_id="d1",
            line=self.line.id,
            token_space=self.line.token_space.digest,
            gate_score="entropy",
            quota=Quota(),
            now_unix_s=1_700_000_000,
        )
        return samples

    def run(self, most_steps: int = 100) -> None:
        """Step until there is nothing to do."""
        for _ in range(most_steps):
            if not self.coordinator.step():
                return
        raise AssertionError("the rounds do not come to rest")


def open_bench(
    folder: Path,
    workers: Workers,
    clock: Clock,
    *,
    settings: RoundSettings = SETTINGS,
    limits: GateLimits | None = None,
    dwc: ChooseSettings | None = None,
    watch: Watch | None = None,
) -> RoundsBench:
    """A line with its state in `folder`; opening it again is a restart."""
    pair = bare_pair(folder.parent / "pair")
    line = Line(
        pair=pair.name, pair_dir=pair.dir, base_model=pair.base_model, token_space=pair.token_space
    )
    folder.mkdir(exist_ok=True)
    database = Database(f"sqlite:///{folder / 'cloud.sqlite'}")
    store, ledger = SampleStore(database), RoundLedger(database)
    registry = ReleaseRegistry(folder / "releases")
    dwc = dwc or ChooseSettings(max_fp16_share=0.5)
    releases = Releases(registry, line, start_adapter(), settings=dwc)
    work = RoundWork(
        line=line,
        store=store,
        ledger=ledger,
        workers=workers,
        releases=releases,
        teacher="teacher-1",
        settings=settings,
        distil=DistilSettings(),
        limits=limits or GateLimits(),
        folder=folder / "rounds",
        clock=clock,
    )
    coordinator = Coordinator(
        line=line,
        store=store,
        ledger=ledger,
        work=work,
        releases=releases,
        settings=settings,
        drift_threshold=0.9,
        folder=folder / "rounds",
        clock=clock,
        watch=watch,
    )
    return RoundsBench(
        line=line,
        database=database,
        store=store,
        ledger=ledger,
        registry=registry,
        releases=releases,
        coordinator=coordinator,
        folder=folder,
    )


def released_files(folder: Path) -> dict[str, bytes]:
    """Every file of the registry below the state folder, by name."""
    root = folder / "releases"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
