"""`driftline cloud group`: what it prints and what it changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from driftline_cloud.cli import app
from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_shared.errors import DataError


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A cloud with the line `p-1` and three devices on it."""
    database = Database(f"sqlite:///{tmp_path / 'cloud.sqlite'}", durable=False)
    with database.write() as connection:
        row = {"id": "p-1", "pair": "p", "pair_name": "p", "base_model": "b", "token_space": "t"}
        times = {"added_unix_s": 0, "changed_unix_s": 0, "state": "active"}
        connection.execute(insert(tables.lines).values(row | times))
        for number in range(3):
            connection.execute(
                insert(tables.devices).values(
                    device_id=f"d{number}",
                    line="p-1",
                    token_space="t",
                    base_model="b",
                    adapter_version=0,
                    enrolled_unix_s=0,
                    last_seen_unix_s=0,
                )
            )
    database.close()
    return tmp_path


def run(state: Path, *words: str) -> str:
    done = CliRunner().invoke(app, ["group", *words, "--state", str(state)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def test_a_group_is_made_listed_moved_and_merged(state: Path) -> None:
    made = run(state, "split", "dock", "d1", "--why", "the docks\x1b[2J", "--by", "ann")
    assert "p-1.dock  active since version 0, version 0, 1 devices" in made
    assert json.loads(run(state, "move", "d2", "--to", "p/dock", "--json"))["num_devices"] == 2
    listed = run(state, "list").splitlines()
    assert listed[0].startswith("p-1  active") and listed[1].startswith("  p-1.dock  active")
    assert any(
        "ann: split p-1: group dock: 1 devices (d1); the docks\\x1b[2J" in one for one in listed
    )
    assert json.loads(run(state, "merge", "p/dock", "--json"))["num_devices"] == 3
    found = json.loads(run(state, "list", "--json"))
    assert [row["state"] for row in found["lines"]] == ["active", "dropped"]
    assert [one["action"] for one in found["decisions"]] == ["merge", "move", "move", "split"]


def test_what_cannot_be_done_is_a_sentence(state: Path) -> None:
    for words, said in (
        (("split", "dock", "nobody"), "not on p-1: 1 devices .nobody."),
        (("move", "d1", "--to", "p/dock"), "no line"),
        (("merge", "p"), "is no group"),
    ):
        with pytest.raises(DataError, match=said):
            run(state, *words)
