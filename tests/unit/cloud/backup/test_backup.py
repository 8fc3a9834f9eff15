"""A backup is of one moment, is whole or is refused, and a cloud goes on from it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from driftline_cloud.backup.backup import make_backup, restore
from driftline_cloud.backup.check import database_faults, release_faults
from driftline_cloud.trust.authority import make_authority, read_authority, root_is_here
from driftline_shared.callbacks import ignore
from driftline_shared.errors import DataError, DriftlineError
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import open_cloud, released_files, run_rounds, send


def _cloud(folder: Path):
    return open_cloud(folder, ReckoningWorkers(), FakeClock())


def test_a_cloud_goes_on_from_a_backup_that_was_made_while_it_ran(tmp_path: Path) -> None:
    cloud = _cloud(tmp_path / "state")
    send(cloud, range(40))
    run_rounds(cloud)
    shares: list[float] = []
    done = make_backup(tmp_path / "state", tmp_path / "copy", shares.append)
    assert shares[-1] == 1.0
    assert done.num_bytes > 0
    send(cloud, range(40, 60))  # what comes later is not in it
    cloud.close()
    restore(tmp_path / "copy", tmp_path / "again")
    again = _cloud(tmp_path / "again")
    assert again.store.counts(again.line.id).num_samples == 40
    assert again.cloud_id == cloud.cloud_id
    assert released_files(tmp_path / "again") == released_files(tmp_path / "state")
    send(again, range(40, 80))
    run_rounds(again)
    assert again.registry.newest_version(again.line.id) == 2
    again.close()


def test_the_authority_is_in_it_without_the_roots_key(tmp_path: Path) -> None:
    made = make_authority(tmp_path / "state", name="tests")
    _cloud(tmp_path / "state").close()
    make_backup(tmp_path / "state", tmp_path / "copy", ignore)
    restore(tmp_path / "copy", tmp_path / "again")
    assert read_authority(tmp_path / "again").fingerprint == made.fingerprint
    assert (tmp_path / "again" / "trust" / "issuing.key").stat().st_mode & 0o77 == 0
    assert root_is_here(tmp_path / "state") and not root_is_here(tmp_path / "again")


def test_samples_are_taken_while_a_backup_is_made(tmp_path: Path) -> None:
    cloud = _cloud(tmp_path / "state")
    send(cloud, range(10))
    writer = threading.Thread(target=send, args=(cloud, range(10, 40)))
    started = threading.Event()

    def report(_share: float) -> None:
        if not started.is_set():
            started.set()
            writer.start()

    make_backup(tmp_path / "state", tmp_path / "copy", report)
    writer.join()
    assert cloud.store.counts(cloud.line.id).num_samples == 40
    cloud.close()
    restore(tmp_path / "copy", tmp_path / "again")
    again = _cloud(tmp_path / "again")
    assert again.store.counts(again.line.id).num_samples in (10, 40)
    again.close()


def test_what_is_broken_is_named(tmp_path: Path) -> None:
    cloud = _cloud(tmp_path / "state")
    send(cloud, range(40))
    run_rounds(cloud)
    cloud.close()
    make_backup(tmp_path / "state", tmp_path / "copy", ignore)
    (blob,) = (tmp_path / "copy" / "releases" / "blobs").iterdir()
    whole = blob.read_bytes()
    blob.write_bytes(b"rot" + whole[3:])
    with pytest.raises(DriftlineError, match="other bytes than its name says"):
        restore(tmp_path / "copy", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    blob.unlink()
    assert ["its blob is gone" in one for one in release_faults(blob.parents[1])] == [True]
    blob.write_bytes(whole)
    database = tmp_path / "copy" / "cloud.sqlite"
    data = bytearray(database.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    database.write_bytes(data)
    assert database_faults(database)
    with pytest.raises(DriftlineError, match="not whole"):
        restore(tmp_path / "copy", tmp_path / "again")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    cloud = _cloud(tmp_path / "state")
    with pytest.raises(DataError, match="holds no cloud"):
        make_backup(tmp_path, tmp_path / "copy", ignore)
    make_backup(tmp_path / "state", tmp_path / "copy", ignore)
    with pytest.raises(DataError, match="not empty"):
        make_backup(tmp_path / "state", tmp_path / "copy", ignore)
    with pytest.raises(DataError, match="holds a cloud already"):
        restore(tmp_path / "copy", tmp_path / "state")
    (tmp_path / "copy" / "backup.json").unlink()
    with pytest.raises(DataError, match="is no backup"):
        restore(tmp_path / "copy", tmp_path / "again")
    cloud.close()
