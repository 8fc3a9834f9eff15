"""An artifact store that is away: rounds wait and go on by themselves, serving serves."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from driftline_cloud.blobs.remote import open_remote
from driftline_cloud.blobs.settings import StorageSettings
from driftline_cloud.config import CloudConfig
from driftline_cloud.rounds.coordinator import HeldUpError
from driftline_cloud.rounds.round import RoundState
from driftline_cloud.service.assembly import WholeCloud, assemble_service
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.state import StateFolder
from driftline_shared.errors import LinkError, Reason
from driftline_shared.update_apply import apply_update
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers, bare_pair, fake_makers, start_adapter
from tests.fakes.rounds import SETTINGS, open_cloud, released_files, run_rounds, send

_numbers = itertools.count()


class Outage:
    """Makes a store raise what a network raises: from the call number `at` on, until `over`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: int | None = None
        self.num_calls = 0
        for name in ("pipe_file", "cat_file", "find", "info", "rm_file"):
            call = getattr(MemoryFileSystem, name)
            monkeypatch.setattr(MemoryFileSystem, name, self._or_away(call))

    def _or_away(self, call: Any) -> Any:
        def wrapped(*args: Any, **options: Any) -> Any:
            self.num_calls += 1
            if self.at is not None and self.num_calls >= self.at:
                raise ConnectionError("nobody answers")
            return call(*args, **options)

        return wrapped

    def over(self) -> None:
        self.at = None

    def begin(self, after: int = 1) -> None:
        self.at = self.num_calls + after


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(monkeypatch)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Any]:
    clouds: list[WholeCloud] = []

    def make(name: str, url: str = "", **options: Any) -> WholeCloud:
        cloud = open_cloud(
            tmp_path / name, ReckoningWorkers(), FakeClock(), artifacts=url, **options
        )
        clouds.append(cloud)
        return cloud

    yield make
    for cloud in clouds:
        cloud.close()


def _url() -> str:
    return f"memory://away-{next(_numbers)}"


def test_a_round_with_a_store_ends_as_one_with_a_folder(opened: Any, tmp_path: Path) -> None:
    url = _url()
    here, there = opened("folder"), opened("store", url)
    for cloud in (here, there):
        for numbers in (range(40), range(100, 140)):
            send(cloud, numbers)
            run_rounds(cloud)
    assert there.registry.newest_version(there.line.id) == 2
    assert released_files(tmp_path / "folder") == released_files(tmp_path / "store")
    # What rounds keep is in the store, and no more in the folder.
    kept = open_remote(url).within("rounds").list()
    assert any(key.endswith("distilled.safetensors") for key in kept)
    assert not any(key.endswith(".checkpoint") for key in kept)
    assert not (tmp_path / "store" / "rounds").exists()


def test_old_rounds_are_forgotten_in_the_store(opened: Any) -> None:
    url = _url()
    cloud = opened("state", url, settings=SETTINGS.model_copy(update={"keep_folders": 1}))
    for numbers in (range(40), range(100, 140), range(200, 240)):
        send(cloud, numbers)
        run_rounds(cloud)
    kept = {key.split("/")[0] for key in open_remote(url).within("rounds").list()}
    assert kept == {f"{cloud.line.id}-r0003"}


def test_wherever_the_store_goes_away_the_round_waits_and_goes_on(
    opened: Any, outage: Outage, tmp_path: Path
) -> None:
    undisturbed = opened("undisturbed", _url())
    send(undisturbed, range(40))
    begun = outage.num_calls
    run_rounds(undisturbed)
    num_calls = outage.num_calls - begun
    assert num_calls > 8
    files, num_held = released_files(tmp_path / "undisturbed"), 0
    for number in range(1, num_calls + 1, num_calls // 4):
        cloud = opened(f"cut{number}", _url())
        send(cloud, range(40))
        outage.begin(after=number)
        try:
            run_rounds(cloud)
        except HeldUpError as error:
            assert re.search(r"artifact store memory://.* is away.*nobody answers", str(error))
            num_held += 1
        held = cloud.ledger.newest(cloud.line.id)[0]
        assert held.num_errors == 0
        assert cloud.registry.newest_version(cloud.line.id) in (0, 1)  # what is at hand is served
        outage.over()
        run_rounds(cloud)
        done = cloud.ledger.newest(cloud.line.id)[0]
        assert (done.state, done.num_errors) == (RoundState.DONE, 0)
        assert released_files(tmp_path / f"cut{number}") == files
    # Checkpoints and what is tidied away hold nobody up.
    assert num_held >= 2


def test_devices_are_served_what_is_at_hand_while_the_store_is_away(
    opened: Any, outage: Outage, tmp_path: Path
) -> None:
    url = _url()
    cloud = opened("state", url)
    for numbers in (range(40), range(100, 140)):
        send(cloud, numbers)
        run_rounds(cloud)
    outage.begin()
    with _serving(tmp_path / "state", url, FakeClock()) as served:  # it starts, too
        registry, line = served.registry, served.first
        assert served.lines.of(line).id == line
        manifest = registry.offer(line, 0)  # made on demand
        assert manifest is not None and manifest.target_version == 2
        adapter = apply_update(start_adapter(), manifest, registry.blobs.get(manifest.blob_digest))
        target = registry.canonical(line, 2)
        assert all(np.array_equal(adapter[name], target[name]) for name in target)


def test_a_lost_disk_is_filled_from_the_store_and_devices_wait_meanwhile(
    opened: Any, outage: Outage, tmp_path: Path
) -> None:
    url, clock = _url(), FakeClock()
    cloud = opened("state", url)
    send(cloud, range(40))
    run_rounds(cloud)
    shutil.rmtree(tmp_path / "state" / "releases")
    outage.begin()
    with _serving(tmp_path / "state", url, clock) as served:
        with pytest.raises(LinkError, match="cannot be served now") as refused:
            served.lines.of(served.first)
        assert refused.value.reason is Reason.STORE_BUSY
        outage.over()
        clock.advance(11.0)
        served.lines.refresh()
        assert served.lines.of(served.first).id == served.first
        assert served.registry.newest_version(served.first) == 1


@contextmanager
def _serving(folder: Path, url: str, clock: FakeClock) -> Iterator[Cloud]:
    """What serves, without what works, as a start of it has it."""
    pair = bare_pair(folder.parent / "pair")
    config = CloudConfig(state=folder, storage=StorageSettings(artifacts=url))
    makers = fake_makers(ReckoningWorkers(), lambda _name: pair, clock=clock)
    cloud = assemble_service(config, StateFolder(folder), makers)
    try:
        yield cloud
    finally:
        cloud.close()
