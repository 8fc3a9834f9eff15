"""`driftline cloud release`: what is shown, what is ordered, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from driftline_cloud.commands.release_cli import app
from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import DeviceRegister
from driftline_cloud.rollout.orders import RolloutOrders
from driftline_cloud.rollout.plan import RolloutSettings
from driftline_shared.errors import DataError
from driftline_shared.host.clock import SystemClock
from driftline_shared.status import Enrolment
from driftline_shared.tokens import SamplingPolicy


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder of a cloud with 30 devices and version 1 on its way."""
    database = Database(f"sqlite:///{tmp_path / 'cloud.sqlite'}")
    devices, clock = DeviceRegister(database), SystemClock()
    for number in range(30):
        devices.enrol(
            Enrolment(
                device_id=f"d{number}", pair="p", token_space="t", base_model="b",
                adapter_version=0,
            ),
            "l-1",
            now_unix_s=int(clock.now_s()),
        )  # fmt: skip
    RolloutOrders(database, clock).begin(
        "l-1", 1, round_id="l-1-r0001", base_version=0, settings=RolloutSettings(shares=(0.1, 1.0))
    )
    with database.write() as connection:
        connection.execute(
            insert(tables.versions).values(
                line="l-1", version=1, round_id="l-1-r0001", digest="", released_unix_s=0
            )
        )
    database.close()
    return tmp_path


def _run(state: Path, *args: str) -> str:
    done = CliRunner().invoke(app, [*args, "--state", str(state)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_version_on_its_way_is_listed_and_shown(state: Path) -> None:
    (row,) = json.loads(_run(state, "list", "--json"))
    assert (row["version"], row["state"], row["share"]) == (1, "rolling", 0.1)
    assert "rolling             10%" in _run(state, "list")
    shown = json.loads(_run(state, "show", "--devices", "--json"))
    assert (shown["num_reported"], len(shown["devices"]), shown["num_phases"]) == (0, 3, 2)
    assert "of its phase" in shown["waits"]
    assert "shares          [0.1, 1.0]" in _run(state, "show", "1", "--line", "l-1")


def test_orders_are_kept_with_who_and_why(state: Path) -> None:
    assert "version 1 of line l-1: paused" in _run(state, "pause", "--by", "ada", "--why", "alarm")
    assert json.loads(_run(state, "resume", "--json"))["state"] == "rolling"
    assert json.loads(_run(state, "promote", "--json"))["phase"] == 2
    stopped = _run(state, "stop", "--why", "it reads\x1b numbers wrong")
    assert "version 0 is released again by the cloud" in stopped
    entries = json.loads(_run(state, "log", "--json"))
    assert [one["action"] for one in entries] == ["stop", "promote", "resume", "pause", "begin"]
    assert (entries[3]["who"], entries[3]["detail"]) == ("ada", "alarm")
    assert r"it reads\x1b numbers wrong" in _run(state, "log", "--line", "l-1")


def test_a_cloud_that_has_served_and_released_nothing_says_so(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'cloud.sqlite'}")
    with pytest.raises(DataError, match="the cloud has no line yet"):
        _run(tmp_path, "list")
    DeviceRegister(database).put_policy("l-1", SamplingPolicy())
    database.close()
    assert json.loads(_run(tmp_path, "list", "--json")) == []
    assert "has released no version" in _run(tmp_path, "list")
    assert "nothing was done yet" in _run(tmp_path, "log")


def test_what_cannot_be_is_refused_with_a_reason(state: Path) -> None:
    def refused(*args: str) -> str:
        with pytest.raises(DataError) as error:
            _run(state, *args)
        return str(error.value)

    assert "is rolling, it cannot be approved" in refused("approve")
    assert "cannot go back to version 7: its newest is 1" in refused("rollback", "--to", "7")
    assert "the cloud has no line 'x', it has l-1" in refused("list", "--line", "x")
    assert "has no rollout of version 4" in refused("show", "4")
    assert "version 1 of line l-1: stopped" in _run(state, "rollback", "--to", "0")
    assert "no version of line l-1 is on its way" in refused("stop")


def test_the_log_of_a_line_that_is_not_there_is_an_error(state: Path) -> None:
    with pytest.raises(DataError, match="no line 'nope'"):
        _run(state, "log", "--line", "nope")
