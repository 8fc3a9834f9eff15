"""Versions reach a fleet by phases: 40 real appliers, real gRPC, a cloud that serves.

The bad versions are made on purpose and released past the gate of rounds, as a round would release
one whose gate was wrong. The devices' model is a fake whose adapter says how it behaves.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from driftline_cloud.intake.database import Database
from driftline_cloud.release.manifests import Lineage
from driftline_cloud.release.packer import pack_exact
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rollout.orders import RolloutOrders
from driftline_cloud.rollout.rollout import RolloutState
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.service.assembly import line_of
from driftline_device.link.counters import Counters
from driftline_device.link.downlink import Downlink
from driftline_device.link.settings import LinkSettings
from driftline_device.runtime.runtime import Question
from driftline_device.updates.applier import Applier
from driftline_device.updates.settings import UpdateSettings
from driftline_device.updates.watch import WatchLimits
from driftline_shared.host.clock import SystemClock
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.status import UpdateReport
from driftline_shared.update import Adapter, Manifest, adapter_digest
from tests.fakes.runtime import FakeRuntime, adapter, base_adapter, picture, probe_set, write_pair
from tests.fakes.waiting import until

from .conftest import TIMEOUT_S, RunningCloud

pytestmark = pytest.mark.integration

NUM_DEVICES = 40
NUM_ANSWERS = 4
WATCH = WatchLimits(num_answers=NUM_ANSWERS, num_baseline=NUM_ANSWERS, num_confirm=2)


class Device:
    """A device without its daemon's threads: it asks, installs, answers and reports when told."""

    def __init__(self, name: str, cloud: RunningCloud, folder: Path) -> None:
        self.name = name
        self.ran: set[int] = set()
        self.runtime = FakeRuntime()
        self.runtime.base_model = cloud.pair.base_model
        self.applier = Applier(
            state_dir=folder / name,
            runtime=self.runtime,
            pair_name=cloud.pair.name,
            token_space=cloud.pair.token_space.digest,
            probe_set=probe_set(4),
            clock=SystemClock(),
            settings=UpdateSettings(watch=WATCH),
        )
        self.applier.recover()
        self._downlink = Downlink(
            cloud.channel,
            lambda: name,
            folder / name / "parts",
            LinkSettings(address=""),
            Counters(),
            clock=SystemClock(),
            rng=random.Random(0),
            stop=threading.Event(),
        )
        cloud.enrol(name)

    def check(self, *, adapter_version: int, failed_versions: Sequence[int]) -> Manifest | None:
        return self._downlink.check(
            base_model=self.runtime.base_model,
            adapter_version=adapter_version,
            failed_versions=failed_versions,
        )

    def fetch(self, manifest: Manifest) -> bytes:
        return self._downlink.fetch(manifest.blob_digest, manifest.blob_bytes)

    def report(self, report: UpdateReport) -> None:
        self._downlink.report(report)

    def live(self) -> None:
        """One poll, and some answers with what is in force then."""
        self.applier.poll(self)
        for number in range(NUM_ANSWERS):
            question = Question(image=picture(number, noise=number), text="what?")
            (answer,) = self.runtime.answer([question])
            self.ran.add(answer.version)
            self.applier.answered(question, answer)
        self.applier.act()
        self.applier.deliver(self)


class Operator:
    """What is on the cloud's disk, opened by another process as its worker does."""

    def __init__(self, cloud: RunningCloud) -> None:
        line = line_of(cloud.pair)
        self.line = line.id
        self.settings = cloud.config.rollout
        self.database = Database(cloud.config.database)
        self.registry = ReleaseRegistry(cloud.config.state / "releases")
        self.registry.open_line(line, base_adapter())
        self.store = RolloutStore(self.database)
        self.orders = RolloutOrders(self.database, SystemClock())

    def release(self, wanted: Adapter) -> int:
        """As the last step of a round does."""
        newest = self.registry.newest_version(self.line)
        version, round_id = newest + 1, f"{self.line}-r{newest + 1:04d}"
        self.orders.begin(
            self.line, version, round_id=round_id, base_version=newest, settings=self.settings
        )
        manifest = self.registry.publish(
            self.line,
            pack_exact(self.registry.canonical(self.line, newest), wanted),
            Lineage(round_id=round_id, num_samples=1, created_unix_s=1),
        )
        RoundLedger(self.database).add_version(
            self.line,
            version,
            round_id=round_id,
            digest=manifest.target_digest.hex(),
            now_unix_s=1,
        )
        return version


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return load_pair(write_pair(tmp_path / "pair"))


@pytest.fixture
def fleet(
    start_cloud: Callable[..., RunningCloud], pair: Pair, tmp_path: Path
) -> Iterator[tuple[list[Device], Operator]]:
    """Devices that all run version 1, and who releases."""
    cloud = start_cloud(
        pair=pair,
        initial=base_adapter(),
        **{
            "rollout.shares": (0.1, 0.5, 1.0),
            "rollout.least_s": 600.0,
            "rollout.least_reports": 3,
        },
    )
    operator = Operator(cloud)
    devices = [Device(f"d{number}", cloud, tmp_path / "devices") for number in range(NUM_DEVICES)]
    operator.release(adapter(skill=1.0))
    operator.orders.promote(operator.line, who="tests", to_all=True)
    _live_until(devices, 1)
    yield devices, operator
    operator.database.close()


def _live_until(devices: list[Device], version: int) -> None:
    """Every device comes to `version`; those who are there have lived once more."""

    def all_there() -> bool:
        for device in devices:
            if device.runtime.version != version:
                device.live()
        return all(device.runtime.version == version for device in devices)

    until(all_there, TIMEOUT_S)


def test_a_bad_version_in_canary_is_stopped_by_itself_and_all_end_on_the_version_before(
    fleet: tuple[list[Device], Operator],
) -> None:
    devices, operator = fleet
    # The self-check lets it pass; the watch finds it unsure, and each device leaves it by itself.
    # Three reports are enough: the fourth of the canary may or may not have come to it by then.
    _release_and_see_it_stopped(devices, operator, adapter(skill=1.0, unsure=1.0), num_ran={3, 4})
    # The self-check refuses it: it answers nobody.
    _release_and_see_it_stopped(devices, operator, adapter(skill=1.0, harm=1.0), num_ran={0})


def _release_and_see_it_stopped(
    devices: list[Device], operator: Operator, bad: Adapter, *, num_ran: set[int]
) -> None:
    version = operator.release(bad)
    for device in devices:
        device.live()
    until(lambda: _followed_by(operator, version) == version + 1, TIMEOUT_S)
    assert operator.store.get(operator.line, version).state is RolloutState.STOPPED
    _live_until(devices, version + 1)
    ran = {device.name for device in devices if version in device.ran}
    assert len(ran) in num_ran and len(ran) <= 0.1 * NUM_DEVICES
    good = adapter_digest(adapter(skill=1.0))
    assert {adapter_digest(device.runtime.adapter()) for device in devices} == {good}
    assert {device.applier.state.version for device in devices} == {version + 1}
    entries = operator.store.log(line=operator.line, limit=3)
    assert [(one.who, one.action, one.version) for one in entries] == [
        ("cloud", "restore", version + 1),
        ("cloud", "stop", version),
        ("cloud", "begin", version),
    ]
    assert "devices did not keep it" in entries[1].detail


def _followed_by(operator: Operator, version: int) -> int | None:
    found = operator.store.get(operator.line, version)
    return None if found is None else found.followed_by
