"""The doctor's checks on real files and sockets: what it finds, what it advises, what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from driftline_device.cli import app
from driftline_device.config import load_config
from driftline_device.daemon.state_files import StateFiles
from driftline_device.doctor import machine
from driftline_device.doctor.examination import check_cloud, check_pair, examine
from driftline_device.doctor.identity import check_identity
from driftline_device.doctor.machine import (
    check_clock,
    check_disk,
    check_gate,
    check_memory,
    check_runtime,
)
from driftline_device.doctor.state import (
    check_daemon,
    check_spool,
    check_update,
    check_versions,
    read_policy,
    read_status,
)
from driftline_device.program.assembly import open_daemon
from driftline_device.sources.table import open_source
from driftline_device.spool.sqlite import SqliteSpool
from driftline_device.updates.slots import Slots
from driftline_shared.host.lock import lock_holder, state_lock
from driftline_shared.pair.pair import load_pair
from driftline_shared.program.checks import Check
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.trust.credentials import IDENTITY, KEY
from driftline_shared.trust.keys import own_key
from tests.fakes.runtime import BASE_MODEL, FakeRuntime, adapter, write_dataset, write_pair
from tests.fakes.runtime import stream as questions
from tests.fakes.samples import encoded

NAMES = [
    *("configuration", "pair", "runtime", "memory", "disk", "daemon"),
    *("spool", "versions", "update", "signatures", "cloud", "clock", "camera", "state"),
]


@pytest.fixture(scope="module")
def pair_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def used(tmp_path: Path, pair_dir: Path) -> Path:
    """The state folder of a device that has worked."""
    state = tmp_path / "state"
    path = write_dataset(tmp_path / "data", questions(5, hard=True))
    config = load_config(
        None,
        {
            "state": str(state),
            "sampling.token_scorer": "magnitude",
            "sampling.gate_quantile": 0.5,
            "sampling.max_sample_share": 1.0,
        },
        {},
    )
    with open_daemon(config, load_pair(pair_dir), FakeRuntime()) as daemon:
        daemon.start()
        daemon.run(open_source(path))
        daemon.stop(0.1)
    return state


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing torch in another process is the runtime check's own test."""
    monkeypatch.setitem(machine.PACKAGES, "torch", ("json",))


def test_a_sound_device_passes_and_is_left_as_it_was(
    used: Path, pair_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    before = contents(used)
    done = run("doctor", "--state", used, "--set", f"pair={pair_dir}", "--json")
    assert contents(used) == before
    found = json.loads(done.stdout)
    assert [check["name"] for check in found["checks"]] == NAMES
    assert [check for check in found["checks"] if check["verdict"] == "fail"] == []
    assert (done.exit_code, found["ok"]) == (0, True)
    by_name = {check["name"]: check["found"] for check in found["checks"]}
    assert by_name["spool"].startswith("5 samples")
    assert by_name["daemon"] == "none runs; the last one ended in order"
    shown = run("doctor", "--state", used, "--set", f"pair={pair_dir}")
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in NAMES)


def test_it_works_beside_a_running_daemon(
    used: Path, pair_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    config = load_config(None, {"state": str(used), "pair": str(pair_dir)}, {})
    with open_daemon(config, load_pair(pair_dir), FakeRuntime()) as daemon:
        daemon.start()
        before = {name: data for name, data in contents(used).items() if "-shm" not in name}
        checks = {check.name: check for check in examine(config)}
        after = {name: data for name, data in contents(used).items() if "-shm" not in name}
        assert after.keys() == before.keys()
        assert after["spool.sqlite"] == before["spool.sqlite"]
        assert checks["daemon"].found == f"process {os.getpid()} runs on {used}"
        assert checks["spool"].verdict == "ok"
        StateFiles(used).pause(1.0)
        daemon._tick()
        paused = check_daemon(used, read_status(used))
        assert (paused.verdict, "resume" in paused.fix) == ("warn", True)
        daemon.stop(0.1)


def test_a_new_device_without_state_passes_and_makes_none(
    tmp_path: Path, pair_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    state = tmp_path / "none" / "yet"
    checks = examine(load_config(None, {"state": str(state), "pair": str(pair_dir)}, {}))
    assert [check for check in checks if check.verdict == "fail"] == []
    assert not (tmp_path / "none").exists()


def test_a_device_that_waits_to_be_let_in_says_its_fingerprint_and_how(tmp_path: Path) -> None:
    assert check_identity(tmp_path) is None
    folder = tmp_path / IDENTITY
    identity = own_key(folder / KEY).identity
    waits = check_identity(tmp_path)
    assert waits is not None and waits.verdict == "warn"
    assert identity in waits.found and f"driftline cloud member accept {identity[:12]}" in waits.fix
    (folder / KEY).write_bytes(b"no key")
    broken = check_identity(tmp_path)
    assert broken is not None and broken.verdict == "fail"


def test_a_configuration_that_does_not_read_is_a_failed_check(tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text("spede = 3\n")
    done = run("doctor", "--config", tmp_path / "device.toml", "--json")
    (check,) = json.loads(done.stdout)["checks"]
    assert (done.exit_code, check["name"], check["verdict"]) == (1, "configuration", "fail")
    assert "spede" in check["found"]


def test_a_long_path_is_whole_and_the_pair_of_the_flag_is_looked_at(
    tmp_path: Path, pair_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    state = tmp_path / ("s" * 120) / ("t" * 120)
    done = run("doctor", "--state", state, "--pair", pair_dir)
    shown = "".join(done.stdout.split())
    assert str(state) in shown
    assert str(pair_dir) in shown
    assert "…" not in shown


def test_every_failure_has_a_fix_and_an_exit_code(
    used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    (used / "spool.sqlite").write_bytes(b"no database" * 1_000)
    done = run(
        "doctor", "--state", used, "--set", f"pair={tmp_path / 'none'}", "--json",
        "--set", "cloud=127.0.0.1:1",
    )  # fmt: skip
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.exit_code == 1
    for name in ("pair", "spool", "cloud"):
        assert checks[name]["verdict"] == "fail", checks[name]
        assert checks[name]["fix"]


# -- machine -------------------------------------------------------------------------------------


def test_a_runtime_that_kills_its_process_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine.PACKAGES, "torch", ("json", "no_such_module"))
    missing = check_runtime("torch")
    assert missing.verdict == "fail"
    # As `run` says, too: a device may do without torch.
    assert "pip install 'driftline[device-torch]'" in missing.fix
    assert "driftline models export" in missing.fix
    monkeypatch.setitem(machine.PACKAGES, "torch", ("antigravity_that_crashes",))
    monkeypatch.setattr(machine, "find_spec", lambda name: object())
    crashed = check_runtime("torch")
    assert "importing ended with 1: ModuleNotFoundError" in crashed.found
    monkeypatch.setitem(machine.PACKAGES, "torch", ("json", "os; os.abort()"))
    assert "importing ended with -6" in check_runtime("torch").found


def test_a_runtime_that_imports_tells_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine.PACKAGES, "torch", ("numpy", "json"))
    found = check_runtime("torch")
    assert found.verdict == "ok"
    assert f"numpy {sys.modules['numpy'].__version__}" in found.found


def test_memory_that_does_not_suffice_fails_before_a_start_only(
    pair_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = load_pair(pair_dir)
    monkeypatch.setattr(machine, "weights_bytes", lambda pair: 1 << 50)
    assert check_memory(pair, is_running=False).verdict == "fail"
    assert check_memory(pair, is_running=True).verdict == "ok"
    assert check_memory(None, is_running=False).verdict == "ok"


def test_a_pair_without_a_head_is_named_where_the_policy_asks_for_p_ik(pair_dir: Path) -> None:
    asked = SamplingPolicy(gate_score="p_ik")
    assert check_gate(SamplingPolicy(), load_pair(pair_dir)) is None
    found = check_gate(asked, load_pair(pair_dir))
    assert found is not None
    assert (found.verdict, "fit-p-ik" in found.fix) == ("fail", True)
    assert check_gate(asked, load_pair("tiny")) is None


def test_the_policy_of_the_next_start_is_the_clouds_newest(tmp_path: Path) -> None:
    config = load_config(None, {"state": str(tmp_path / "state")}, {})
    assert read_policy(config) == config.sampling
    assert not config.state.exists()
    newest = SamplingPolicy(revision=4, token_scorer="random")
    StateFiles(config.state).keep_policy(newest)
    assert read_policy(config) == newest


def test_weights_are_weighed() -> None:
    pair = load_pair("tiny")
    size = sum(path.stat().st_size for path in pair.student_dir.glob("*.safetensors"))
    assert machine.weights_bytes(pair) == size > 100_000


def test_a_full_disk_is_found(tmp_path: Path) -> None:
    def check(**overrides: int) -> Check:
        settings = {name.replace("__", "."): value for name, value in overrides.items()}
        return check_disk(load_config(None, {"state": str(tmp_path / "x"), **settings}, {}))

    assert check(spool__max_bytes=1 << 20, sizes__max_blob_bytes=1).verdict == "ok"
    assert check(spool__max_bytes=1 << 60).verdict == "warn"
    assert check(sizes__max_blob_bytes=1 << 60).verdict == "fail"


@pytest.mark.parametrize(
    ("now", "newest", "verdict"),
    [(1e9, 0.0, "fail"), (1.8e9, 1.8e9 + 3_600, "warn"), (1.8e9, 1.8e9 + 1, "ok")],
)
def test_a_clock_that_cannot_be_right_is_found(now: float, newest: float, verdict: str) -> None:
    assert check_clock(newest, now_unix_s=now).verdict == verdict


# -- state ---------------------------------------------------------------------------------------


def test_the_lock_is_looked_at_without_being_taken(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    with state_lock(tmp_path):
        assert lock_holder(tmp_path) == os.getpid()
    assert lock_holder(tmp_path) is None


def test_a_daemon_that_hangs_or_died_is_found(tmp_path: Path) -> None:
    old = {"unix_s": time.time() - 3_600, "activity": "answering"}
    assert check_daemon(tmp_path, None).verdict == "ok"
    assert check_daemon(tmp_path, old).verdict == "warn"
    with state_lock(tmp_path):
        assert check_daemon(tmp_path, old).verdict == "fail"
        assert check_daemon(tmp_path, old | {"unix_s": time.time()}).verdict == "ok"


def test_the_spool_of_a_killed_daemon_is_read_with_its_log(tmp_path: Path) -> None:
    state, left = tmp_path / "state", tmp_path / "left"
    left.mkdir()
    spool = SqliteSpool(state / "spool.sqlite", max_bytes=1 << 20, max_samples=10)
    spool.append(encoded(1))
    assert (state / "spool.sqlite-wal").stat().st_size > 0
    for name in ("spool.sqlite", "spool.sqlite-wal"):  # what a power cut leaves
        shutil.copy(state / name, left / name)
    before = contents(left)
    assert check_spool(left).found.startswith("1 samples")
    assert {name: data for name, data in contents(left).items() if name in before} == before
    spool.close()
    before = contents(state)
    assert check_spool(state).found.startswith("1 samples")
    assert contents(state) == before


def test_a_spool_with_a_broken_page_is_found(used: Path) -> None:
    with sqlite3.connect(used / "spool.sqlite") as database:
        (page,) = database.execute("PRAGMA page_size").fetchone()
        (root,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'samples_by_priority'"
        ).fetchone()
    database.close()
    with (used / "spool.sqlite").open("r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xff" * page)
    assert check_spool(used).verdict == "fail"


def test_a_file_that_was_set_aside_is_mentioned(used: Path) -> None:
    (used / "spool.sqlite.corrupt").write_bytes(b"")
    assert check_spool(used).verdict == "warn"


def test_a_broken_slot_is_found(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots")
    for version in (1, 2):
        name = slots.write_spare(adapter(skill=1.0), version=version, base_model=BASE_MODEL)
        slots.activate(name, version)
    assert check_versions(tmp_path).found == "version 2 in force, 1 to fall back to"
    (tmp_path / "slots" / "a" / "adapter.safetensors").write_bytes(b"cut")
    assert check_versions(tmp_path).verdict == "warn"
    (tmp_path / "slots" / "b" / "slot.json").unlink()
    assert check_versions(tmp_path).verdict == "fail"


def test_an_update_that_failed_is_mentioned(tmp_path: Path) -> None:
    assert check_update(tmp_path).verdict == "ok"
    row = {"target": 3, "phase": "failed", "reason": "probe_disagrees", "detail": ""}
    (tmp_path / "update.json").write_text(json.dumps(row))
    found = check_update(tmp_path)
    assert (found.verdict, found.found) == ("warn", "version 3: failed (probe_disagrees)")


# -- cloud and pair ------------------------------------------------------------------------------


@pytest.fixture
def cloud() -> Iterator[tuple[str, Any]]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", servicer
    server.stop(0).wait()


def test_a_cloud_is_asked_for_its_health(cloud: tuple[str, Any], tmp_path: Path) -> None:
    address, servicer = cloud
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    assert check_cloud(address, tmp_path).verdict == "ok"
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert "does not serve" in check_cloud(address, tmp_path).found
    assert check_cloud("", tmp_path).verdict == "ok"


def test_a_pair_that_would_be_fetched_is_not(tmp_path: Path, pair_dir: Path) -> None:
    found, pair = check_pair("smol")
    assert (found.verdict, pair) == ("ok", None)
    assert check_pair(str(pair_dir))[1] is not None
    assert check_pair("no-such-pair")[0].verdict == "fail"
