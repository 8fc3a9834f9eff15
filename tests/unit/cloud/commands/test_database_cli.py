"""Commands on a cloud's database open what is there, and make nothing where there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_cloud.commands.database_cli import app, backup_app
from driftline_cloud.config import load_config
from driftline_cloud.intake.database import Database


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
