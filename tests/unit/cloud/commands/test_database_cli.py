"""Commands on a cloud's database open what is there, and make nothing where there is nothing."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_cloud.commands.database_cli import app, backup_app
from driftline_cloud.config import load_config
from driftline_cloud.intake.database import Database
from driftline_cloud.serving import Serving
from driftline_cloud.state import StateFolder
from driftline_shared.errors import DataError, Reason
from tests.fakes.clock import FakeClock


@pytest.mark.parametrize("word", ["upgrade", "check", "adopt"])
def test_a_folder_without_a_cloud_stays_without_one(tmp_path: Path, word: str) -> None:
    found = CliRunner().invoke(app, [word, "--state", str(tmp_path / "typo")])
    assert found.exit_code != 0 and "no cloud was served" in str(found.exception)
    assert not (tmp_path / "typo").exists()


def test_there_is_nothing_to_back_up_where_no_cloud_was(tmp_path: Path) -> None:
    words = [str(tmp_path / "copy"), "--state", str(tmp_path / "typo")]
    found = CliRunner().invoke(backup_app, ["backup", *words])
    assert found.exit_code != 0 and "no cloud was served" in str(found.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_there_is_upgraded_and_adopted(tmp_path: Path) -> None:
    Database(load_config(None, {"state": tmp_path}).database).close()
    for word in ("upgrade", "adopt", "check"):
        assert CliRunner().invoke(app, [word, "--state", str(tmp_path)]).exit_code == 0


def test_a_database_that_is_served_is_not_adopted(tmp_path: Path) -> None:
    clock, other = FakeClock(time.time()), tmp_path / "other"
    state = tmp_path / "state"
    state.mkdir()
    database = Database(load_config(None, {"state": state}).database)
    serving = Serving(database, StateFolder(state), clock=clock, lease_s=60.0)
    serving.begin(threading.Event())
    url = f"sqlite:///{state / 'cloud.sqlite'}"
    words = ["adopt", "--state", str(other), "--database-url", url]
    found = CliRunner().invoke(app, words)
    assert isinstance(found.exception, DataError)
    assert found.exception.reason is Reason.STATE_IN_USE and "s." in found.exception.fix
    assert not (other / "identity.json").exists()
    serving.end()
    assert CliRunner().invoke(app, [*words, "--json"]).exit_code == 0
    assert (other / "identity.json").is_file()
    database.close()


def test_what_is_not_whole_is_told_to_machines_by_a_list(tmp_path: Path) -> None:
    Database(load_config(None, {"state": tmp_path}).database).close()
    asked = ["check", "--state", str(tmp_path), "--json"]
    assert json.loads(CliRunner().invoke(app, asked).stdout) == {"whole": True, "faults": []}
    blob = tmp_path / "releases" / "blobs" / ("a" * 64)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"other bytes")
    found = CliRunner().invoke(app, asked)
    told = json.loads(found.stdout)
    assert not told["whole"] and "aaaa" in told["faults"][0]
    assert "is not whole" in str(found.exception)


def test_a_restored_folder_is_told_to_machines(tmp_path: Path) -> None:
    state, copy = tmp_path / "state", tmp_path / "copy"
    state.mkdir()
    Database(load_config(None, {"state": state}).database).close()
    StateFolder(state).releases.mkdir()
    assert (
        CliRunner().invoke(backup_app, ["backup", str(copy), "--state", str(state)]).exit_code == 0
    )
    new = tmp_path / "new"
    words = ["restore", str(copy), "--state", str(new), "--json"]
    found = json.loads(CliRunner().invoke(backup_app, words).stdout)
    assert found == {"state": str(new), "backup": str(copy)}
