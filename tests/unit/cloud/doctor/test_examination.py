"""What the doctor of a cloud finds, well and ill; and that it changes nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, update
from typer.testing import CliRunner

from driftline_cloud.cli import app
from driftline_cloud.config import CloudConfig, load_config
from driftline_cloud.doctor.examination import examine
from driftline_cloud.doctor.records import LEAST_REPORTS, STUCK_S, Records
from driftline_cloud.identity import bind
from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.serving import SERVING
from driftline_cloud.state import StateFolder
from driftline_shared.host.loopback import free_port
from driftline_shared.program.checks import Check
from tests.fakes.cloud import bare_pair

NOW_S = 1_800_000_000.0
LEASE_S = 15.0


@pytest.fixture
def config(tmp_path: Path) -> CloudConfig:
    """A cloud that was served once and stands still."""
    (tmp_path / "state").mkdir()
    pair = bare_pair(tmp_path / "pair")
    settings = {"state": tmp_path / "state", "pair": str(pair.dir), "listen": "127.0.0.1:0"}
    config = load_config(None, settings, environment={})
    database = Database(config.database)
    bind(database, StateFolder(config.state))
    database.close()
    return config


def _by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def _changed(config: CloudConfig, **changes: object) -> CloudConfig:
    return config.model_copy(update=changes)


def test_a_cloud_that_stands_still_has_nobody_who_works_and_else_nothing(
    config: CloudConfig,
) -> None:
    before = {path: path.stat().st_mtime_ns for path in config.state.glob("*.json")}
    found = _by_name(examine(config))
    bad = {name: check.verdict for name, check in found.items() if check.verdict != "ok"}
    bad.pop("disk", None)  # of the machine that tests
    assert bad == {"working": "warn"}
    assert found["serving"].found == "no cloud serves now"
    assert {path: path.stat().st_mtime_ns for path in config.state.glob("*.json")} == before


def test_what_is_asked_for_and_is_not_there_fails_with_a_fix(
    config: CloudConfig, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        workers = config.workers.model_copy(
            update={"kind": "ray", "ray_address": f"127.0.0.1:{free_port()}"}
        )
        ill = _changed(
            config, listen=f"127.0.0.1:{port}", pair=str(tmp_path / "none"), workers=workers
        )
        found = _by_name(examine(ill))
    for name in ("pair", "port", "workers"):
        assert found[name].verdict == "fail", name
        assert found[name].fix, name
    gone = _by_name(examine(_changed(config, state=tmp_path / "elsewhere")))
    assert gone["state folder"].verdict == "fail"
    assert gone["database"].verdict == "warn"
    assert not (tmp_path / "elsewhere").exists()


def test_a_foreign_folder_and_an_older_schema_are_named(
    config: CloudConfig, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    foreign = _changed(config, state=tmp_path / "other", database_url=config.database)
    assert "another state folder" in _by_name(examine(foreign))["identity"].found
    database = Database(config.database)
    with database.write() as connection:
        connection.execute(update(tables.schema).values(version=tables.SCHEMA_VERSION - 1))
    database.close()
    found = _by_name(examine(config))
    assert found["database"].verdict == "warn"
    assert "upgrade" in found["database"].fix
    assert "identity" not in found  # doctor upgrades nothing


def _worker(state: str) -> dict[str, object]:
    return {
        "owner": "w", "line": "a", "state": state, "reason": "no space left on /x",
        "progress": 0.0, "started_unix_s": NOW_S, "seen_unix_s": NOW_S,
    }  # fmt: skip


def _lease(renewed_s: float) -> dict[str, object]:
    return {
        "line": SERVING, "owner": "host:/state #1", "token": 1,
        "renewed_unix_s": renewed_s, "expires_unix_s": renewed_s + LEASE_S,
    }  # fmt: skip


def _round(state: str, *, is_open: bool) -> dict[str, object]:
    return {
        "id": "a-r0001", "line": "a", "open_line": "a" if is_open else None, "number": 1,
        "seed": 0, "state": state, "num_samples": 2, "base_version": 0, "target_version": 1,
        "numbers": {}, "reason": "labelling: it broke", "num_starts": 1, "num_errors": 1,
        "created_unix_s": 0, "changed_unix_s": NOW_S - STUCK_S - 60, "not_before_unix_s": 0.0,
        "trigger": "operator",
    }  # fmt: skip


def _quarantined() -> dict[str, object]:
    return {
        "sample_id": bytes(16), "line": "a", "device_id": "d", "round_id": "a-r0001",
        "reason": "sample_shape", "detail": "", "quarantined_unix_s": NOW_S - 60,
    }  # fmt: skip


def _report(number: int) -> dict[str, object]:
    return {
        "device_id": f"d{number}", "line": "a", "version": 1, "outcome": "rolled_back",
        "reason": "watch_unsure", "detail": "", "numbers": {}, "received_unix_s": NOW_S - 60,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("table", "rows", "name", "verdict", "said"),
    [
        (tables.workers, [_worker("idle")], "working", "ok", "1: w idle"),
        (tables.workers, [_worker("blocked")], "working", "fail", "no space left on /x"),
        (tables.leases, [_lease(NOW_S - 5)], "serving", "ok", "from host:/state #1"),
        (tables.leases, [_lease(NOW_S - 75)], "serving", "warn", "for 0:01:15"),
        (tables.leases, [_lease(NOW_S + 90)], "clock", "fail", "90 s from the database's"),
        (tables.rounds, [_round("labelling", is_open=True)], "rounds", "warn", "for 1:01:00"),
        (tables.rounds, [_round("failed", is_open=False)], "rounds", "warn", "it broke"),
        (tables.rounds, [_round("done", is_open=False)], "rounds", "ok", "0 open"),
        (tables.quarantine, [_quarantined()], "quarantine", "warn", "1 sample_shape"),
        (
            tables.reports,
            [_report(n) for n in range(LEAST_REPORTS)],
            "devices",
            "warn",
            "5 rolled_back watch_unsure",
        ),
    ],
)
def test_what_the_records_say(
    config: CloudConfig, table: object, rows: list[object], name: str, verdict: str, said: str
) -> None:
    database = Database(config.database)
    with database.write() as connection:
        connection.execute(insert(table), rows)  # type: ignore[arg-type]
    checks: dict[str, Callable[[], Check]] = dict(
        Records(database=database, lease_s=LEASE_S, now_s=NOW_S).checks()
    )
    found = checks[name]()
    database.close()
    assert (found.verdict, said in found.found) == (verdict, True), found
    assert bool(found.fix) == (verdict != "ok")


def test_the_command_prints_json_and_its_code_says_whether_one_failed(
    config: CloudConfig, tmp_path: Path
) -> None:
    words = ["doctor", "--state", str(config.state), "--set", "listen=127.0.0.1:0", "--json"]
    well = CliRunner().invoke(app, [*words, "--pair", config.pair])
    ill = CliRunner().invoke(app, [*words, "--pair", str(tmp_path / "none")])
    assert json.loads(ill.stdout)["ok"] is False
    assert ill.exit_code == 1
    found = json.loads(well.stdout)
    assert well.exit_code == (0 if found["ok"] else 1)
    assert {"configuration", "disk", "identity"} <= {one["name"] for one in found["checks"]}
