"""A line that devices of another one joined gets numbers above theirs, cut off anywhere, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert, update

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.intake import tables
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rollout.plan import RolloutSettings
from driftline_cloud.rollout.rollout import RolloutState
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_shared.errors import ConfigError
from driftline_shared.update_apply import apply_update
from tests.fakes.adapters import LINE, lora_adapter, same_bits
from tests.unit.cloud.rollout.test_keeper import LINE_ID, Opened, _Killed


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    """A state folder with version 1, whose line devices joined that may hold version 2."""
    opened = Opened(tmp_path)
    opened.release(1)
    with opened.database.write() as connection:
        connection.execute(update(tables.rollouts).values(state=RolloutState.COMPLETE))
        row = dict.fromkeys(("pair", "pair_name", "base_model", "token_space"), "x")
        times = {"added_unix_s": 0, "changed_unix_s": 0, "state": "active"}
        values = {**row, **times, "id": LINE_ID, "least_version": 3}
        connection.execute(insert(tables.lines).values(values))
    opened.database.close()
    return tmp_path


def _check_numbered(folder: Path) -> None:
    opened = Opened(folder)
    for _ in range(2):
        opened.keeper.step(LINE_ID)
    registry = opened.registry
    assert registry.newest_version(LINE_ID) == 3
    one, two, three = (registry.canonical(LINE_ID, version) for version in (1, 2, 3))
    assert same_bits(one, two) and same_bits(one, three)
    manifest = registry.manifest(LINE_ID, 3)
    assert same_bits(apply_update(two, manifest, registry.blobs.get(manifest.blob_digest)), one)
    assert [opened.offered(held) for held in (0, 1, 2, 3)] == [3, 3, 3, None]
    assert opened.num_entries("restore") == 2
    assert set(RoundLedger(opened.database).versions(LINE_ID)) == {1, 2, 3}
    assert opened.store.why_held(LINE_ID, 3, now_unix_s=0, most_s=9) == ""
    opened.database.close()


@pytest.mark.parametrize("after", [*range(9), 99])
def test_killed_after_any_of_the_files_it_goes_on(
    joined: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    done = 0

    def counted(real):
        def write(*args: object, **options: object) -> object:
            nonlocal done
            if done == after:
                raise _Killed
            done += 1
            return real(*args, **options)

        return write

    opened = Opened(joined)
    assert "gets version 3" in opened.store.why_held(LINE_ID, 1, now_unix_s=0, most_s=9)
    monkeypatch.setattr(FolderStore, "put", counted(FolderStore.put))
    monkeypatch.setattr(opened.orders, "numbered", counted(opened.orders.numbered))
    if after < 99:
        with pytest.raises(_Killed):
            opened.keeper.step(LINE_ID)
    else:
        opened.keeper.step(LINE_ID)
        assert done == 9
    opened.database.close()
    monkeypatch.undo()
    _check_numbered(joined)


def test_a_version_on_its_way_comes_first(joined: Path) -> None:
    opened = Opened(joined)
    with opened.database.write() as connection:
        for number in range(30):
            connection.execute(
                insert(tables.devices).values(
                    device_id=f"d{number}",
                    line=LINE_ID,
                    token_space="t",
                    base_model="b",
                    adapter_version=1,
                    enrolled_unix_s=0,
                    last_seen_unix_s=0,
                )
            )
    assert RolloutSettings().least_devices <= 30
    opened.release(2)
    opened.keeper.step(LINE_ID)
    assert opened.registry.newest_version(LINE_ID) == 2, "the canaries' evidence is not overtaken"
    opened.database.close()


def test_a_group_begins_with_the_versions_that_it_shares(tmp_path: Path) -> None:
    from dataclasses import replace

    opened = Opened(tmp_path)
    for version in (1, 2, 3):
        opened.release(version)
    registry, group = opened.registry, replace(LINE, group="g2")
    with pytest.raises(ConfigError, match="begins with version 9"):
        registry.ensure_fork(replace(LINE, group="g9"), LINE_ID, 9)
    registry.ensure_fork(group, LINE_ID, 2)
    registry.ensure_fork(group, LINE_ID, 3)  # it has begun
    registry.open_line(group, lora_adapter())
    assert registry.newest_version(group.id) == 2
    for version in (0, 1, 2):
        ours, theirs = (registry.canonical(one, version) for one in (group.id, LINE_ID))
        assert same_bits(ours, theirs)
    manifest = registry.offer(group.id, 0)
    assert manifest is not None and manifest.target_version == 2
    again = ReleaseRegistry(tmp_path / "releases")  # and keeps its updates when it starts anew
    again.know_line(group)
    assert again.blobs.get(again.manifest(group.id, 2).blob_digest)
    opened.database.close()
