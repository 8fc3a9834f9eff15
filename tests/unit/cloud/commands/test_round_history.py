"""`driftline cloud round list` and `show`: what past rounds did and what they cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_cloud.commands.round_cli import app
from driftline_shared.errors import DataError
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import open_cloud, run_rounds, send


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A cloud of two rounds: one released, one rejected."""
    workers = ReckoningWorkers()
    cloud = open_cloud(tmp_path / "state", workers, FakeClock())
    send(cloud, range(40))
    run_rounds(cloud)
    workers.gain = 0.0
    send(cloud, range(100, 140))
    run_rounds(cloud)
    cloud.close()
    return tmp_path / "state"


def _run(state: Path, *args: str) -> str:
    done = CliRunner().invoke(app, [*args, "--state", str(state)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_rounds_are_listed_with_what_they_cost(state: Path) -> None:
    second, first = json.loads(_run(state, "list", "--json"))
    assert (first["number"], first["state"], second["state"]) == (1, "done", "rejected")
    assert (first["labels_asked"], second["labels_asked"]) == (40, 40)
    assert first["update_bytes"] > 0 and second["update_bytes"] is None
    assert second["reason"] != "count"
    text = _run(state, "list", "--limit", "1")
    assert text.splitlines()[0].split()[:2] == ["2", "rejected"]
    assert len(text.splitlines()) == 1


def test_one_round_is_shown_with_all_its_numbers(state: Path) -> None:
    row = json.loads(_run(state, "show", "1", "--json"))
    assert row["numbers"]["distil.loss"] == 0.5
    assert json.loads(_run(state, "show", "--json"))["number"] == 2
    assert "distil.loss" in _run(state, "show", "2")
    for number in ("3", "99"):
        with pytest.raises(DataError, match=f"has no round {number}"):
            _run(state, "show", number)
