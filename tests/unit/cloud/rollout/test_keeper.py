"""A stop that is cut off anywhere is finished by the next start, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.identity import check_versions
from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.release.manifests import Lineage
from driftline_cloud.release.packer import pack_exact
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rollout import keeper as keeper_module
from driftline_cloud.rollout.keeper import RolloutKeeper
from driftline_cloud.rollout.offers import Offers
from driftline_cloud.rollout.orders import RolloutOrders
from driftline_cloud.rollout.plan import RolloutSettings
from driftline_cloud.rollout.rollout import RolloutState
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.rounds.ledger import RoundLedger
from tests.fakes.adapters import LINE, lora_adapter, same_bits, trained
from tests.fakes.clock import FakeClock

LINE_ID = LINE.id


class _Killed(BaseException):
    """What a kill looks like from inside: nothing after it runs."""


class Opened:
    """Database, releases and keeper of a state folder, as a start opens them."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder / 'cloud.sqlite'}", durable=False)
        self.registry = ReleaseRegistry(folder / "releases")
        self.registry.open_line(LINE, lora_adapter())
        check_versions(self.registry, self.database, LINE_ID)
        self.store = RolloutStore(self.database)
        self.orders = RolloutOrders(self.database, FakeClock())
        self.offers = Offers(self.store)
        self.keeper = RolloutKeeper(self.store, self.orders, self.registry, self.offers)

    def release(self, version: int) -> None:
        self.orders.begin(
            LINE_ID,
            version,
            round_id=f"r{version}",
            base_version=version - 1,
            settings=RolloutSettings(),
        )
        base = self.registry.canonical(LINE_ID, version - 1)
        manifest = self.registry.publish(
            LINE_ID,
            pack_exact(base, trained(base, version)),
            Lineage(round_id=f"r{version}", num_samples=1, created_unix_s=1),
        )
        RoundLedger(self.database).add_version(
            LINE_ID,
            version,
            round_id=f"r{version}",
            digest=manifest.target_digest.hex(),
            now_unix_s=1,
        )

    def offered(self, held: int) -> int | None:
        newest = self.registry.newest_version(LINE_ID)
        return self.offers.version_for(LINE_ID, "d1", newest=newest, held=held)

    def num_entries(self, action: str) -> int:
        query = select(func.count()).where(tables.audit.c.action == action)
        with self.database.read() as connection:
            return int(connection.scalar(query) or 0)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A state folder with versions 1 and 2, of which 2 was stopped just now."""
    opened = Opened(tmp_path)
    for version in (1, 2):
        opened.release(version)
    opened.orders.rollback(LINE_ID, 1, who="ada")
    opened.database.close()
    return tmp_path


def _check_finished(folder: Path) -> None:
    opened = Opened(folder)
    opened.keeper.step(LINE_ID)
    opened.keeper.step(LINE_ID)
    assert opened.registry.newest_version(LINE_ID) == 3
    one, three = (opened.registry.canonical(LINE_ID, version) for version in (1, 3))
    assert same_bits(one, three)
    assert [opened.offered(held) for held in (0, 1, 2, 3)] == [3, 3, 3, None]
    assert (opened.num_entries("stop"), opened.num_entries("restore")) == (1, 1)
    assert opened.store.get(LINE_ID, 2).followed_by == 3
    back = opened.store.get(LINE_ID, 3)
    assert (back.state, back.restores) == (RolloutState.COMPLETE, 1)
    assert set(RoundLedger(opened.database).versions(LINE_ID)) == {1, 2, 3}
    opened.database.close()


def test_undisturbed(stopped: Path) -> None:
    opened = Opened(stopped)
    assert opened.offered(0) is None  # until the earlier one is there again
    opened.database.close()
    _check_finished(stopped)


@pytest.mark.parametrize("after", range(4))
def test_killed_while_the_earlier_version_is_released(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """After so many of the files (adapter, residual, manifest: the blob is there) or of the row."""
    done = 0

    def counted(real):
        def write(*args: object, **options: object) -> object:
            nonlocal done
            if done == after:
                raise _Killed
            done += 1
            return real(*args, **options)

        return write

    opened = Opened(stopped)
    monkeypatch.setattr(FolderStore, "put", counted(FolderStore.put))
    monkeypatch.setattr(opened.orders, "followed", counted(opened.orders.followed))
    with pytest.raises(_Killed):
        opened.keeper.step(LINE_ID)
    opened.database.close()
    monkeypatch.undo()
    assert done == after
    _check_finished(stopped)


def test_killed_once_it_is_released_and_the_row_is_written(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(stopped)

    def killed(*_: object, **__: object) -> None:
        raise _Killed

    monkeypatch.setattr(keeper_module._log, "warning", killed, raising=False)
    with pytest.raises(_Killed):
        opened.keeper.step(LINE_ID)
    opened.database.close()
    monkeypatch.undo()
    _check_finished(stopped)


def test_a_round_that_releases_between_is_overtaken(stopped: Path) -> None:
    """Its version was built on the stopped one: nobody is offered it."""
    opened = Opened(stopped)
    base = opened.registry.canonical(LINE_ID, 2)
    opened.registry.publish(
        LINE_ID,
        pack_exact(base, trained(base, 3)),
        Lineage(round_id="r3", num_samples=1, created_unix_s=1),
    )
    assert opened.offered(2) is None
    opened.keeper.step(LINE_ID)
    assert opened.registry.newest_version(LINE_ID) == 4
    assert [opened.offered(held) for held in (1, 2, 3)] == [4, 4, 4]
    one, four = (opened.registry.canonical(LINE_ID, version) for version in (1, 4))
    assert same_bits(one, four)
    opened.database.close()
