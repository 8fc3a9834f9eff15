"""Serving and working apart: what serving needs, who works, whose folder it is, how both end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftline_cloud.config import CloudConfig, load_config
from driftline_cloud.identity import adopt, bind
from driftline_cloud.intake.database import Database
from driftline_cloud.rounds.settings import WorkSettings
from driftline_cloud.service.assembly import assemble_service
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.service.supervisor import Supervisor
from driftline_cloud.state import StateFolder, read_port
from driftline_cloud.work.program import Worker
from driftline_shared.errors import ConfigError
from driftline_shared.host.loopback import free_port
from driftline_shared.pair.pair import Pair
from driftline_shared.rpc.status import fetch_status
from driftline_shared.status import LineStatus, WorkerStatus
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers, fake_makers
from tests.fakes.postgres import running_postgres
from tests.fakes.rounds import open_cloud, released_files, run_rounds, send

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 120.0
HEAVY = ("torch", "ray", "transformers", "pyarrow", "alembic", "fsspec", "opentelemetry")

_SERVE = """
import asyncio, json, sys
from driftline_cloud.cli import app
import driftline_cloud.service.server as server
async def until(stop, cloud):
    names = {name.partition(".")[0] for name in sys.modules}
    print(json.dumps(sorted(names)), flush=True)
server._until = until
app(["serve", "--no-work", "--listen", "127.0.0.1:0", *sys.argv[1:]])
"""


def _run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_serving_loads_neither_torch_nor_ray(tmp_path: Path, bare: Pair) -> None:
    store = ("--set", "storage.artifacts=s3://bucket/prefix")  # asked when it is needed
    done = _run("-c", _SERVE, "--state", tmp_path / "state", "--pair", bare.dir, *store)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "grpc" in loaded
    assert set(HEAVY).isdisjoint(loaded)


# -- whose folder it is ---------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shared.sqlite'}"
        return
    with running_postgres() as found:
        yield found


def _wait(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not done():
        assert time.monotonic() < deadline_s, "it did not get there"
        time.sleep(0.05)


def _config(state: Path, url: str, **others: object) -> CloudConfig:
    settings = {
        "state": state,
        "database_url": url,
        "rounds.trigger.round_samples": 40,
        "rounds.poll_s": 0.05,
        "dwc.max_fp16_share": 0.5,
        "work.lease_s": 2.0,
        **others,
    }
    return load_config(None, settings, environment={})


def _worker(config: CloudConfig, pair: Pair, owner: str, **others: object) -> Worker:
    makers = fake_makers(ReckoningWorkers(), lambda _name: pair, **others)
    return Worker(config=config, makers=makers, owner=owner)


def test_a_second_cloud_on_one_database_is_refused(tmp_path: Path, bare: Pair, url: str) -> None:
    database = Database(url)
    first, second = (tmp_path / name for name in ("one", "two"))
    bind(database, StateFolder(first))
    bind(database, StateFolder(first))
    with pytest.raises(ConfigError, match="belongs to another state folder") as caught:
        bind(database, StateFolder(second))
    assert "restore" in caught.value.fix
    with pytest.raises(ConfigError, match="belongs to another state folder"):
        _worker(_config(second, url), bare, "two").run(threading.Event())
    served = _run(
        "-c", _SERVE, "--state", second, "--pair", bare.dir, "--database-url", url
    )  # fmt: skip
    assert served.returncode != 0
    assert "belongs to another state folder" in served.stderr
    adopt(database, StateFolder(second))
    bind(database, StateFolder(second))
    with pytest.raises(ConfigError):
        bind(database, StateFolder(first))
    database.close()


def test_two_workers_on_one_database_never_split_and_one_goes_on_for_the_other(
    tmp_path: Path, bare: Pair, url: str
) -> None:
    state = tmp_path / "state"
    config = _config(state, url)
    halts = [threading.Event(), threading.Event()]
    labelled = ReckoningWorkers()
    stuck, go_on = threading.Event(), threading.Event()

    def stall(where: str) -> None:
        """The first worker to distil stands still, as one that was stopped (SIGSTOP) does."""
        if where == "distil" and not stuck.is_set():
            stuck.set()
            threads[threading.current_thread()]._lease._token = None  # nobody renews it meanwhile
            assert go_on.wait(TIMEOUT_S)

    labelled.hook = stall
    makers = fake_makers(labelled, lambda _name: bare)
    workers = [Worker(config=config, makers=makers, owner=name) for name in ("a", "b")]
    threads = {
        threading.Thread(target=worker.run, args=(halt,), daemon=True): worker
        for worker, halt in zip(workers, halts, strict=True)
    }
    serving = _serving(config, bare)
    send(serving, range(40))
    for thread in threads:
        thread.start()
    _wait(stuck.is_set)
    _wait(lambda: _state(serving) == "done")
    release = released_files(state)
    go_on.set()  # the first one wakes up: what it has made changes nothing
    time.sleep(0.5)
    for halt in halts:
        halt.set()
    for thread in threads:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
    assert released_files(state) == release
    assert [(one.state, one.num_samples) for one in serving.ledger.newest(serving.first)] == [
        ("done", 40)
    ]
    assert labelled.num_distilled == 2
    serving.close()


def _serving(config: CloudConfig, pair: Pair) -> Cloud:
    config.state.mkdir(parents=True, exist_ok=True)
    makers = fake_makers(ReckoningWorkers(), lambda _name: pair)
    return assemble_service(config, StateFolder(config.state), makers)


def _state(cloud: Cloud) -> str:
    newest = cloud.ledger.newest(cloud.first)
    return str(newest[0].state) if newest else ""


def test_a_folder_or_a_database_of_another_day_is_refused(tmp_path: Path, bare: Pair) -> None:
    state = tmp_path / "state"
    cloud = open_cloud(state, ReckoningWorkers(), FakeClock())
    old = sqlite3.connect(tmp_path / "old.sqlite")
    send(cloud, range(40))
    with sqlite3.connect(state / "cloud.sqlite") as now:
        now.backup(old)
    old.close()
    shutil.copytree(state / "releases", tmp_path / "old-releases")
    run_rounds(cloud)
    assert cloud.registry.newest_version(cloud.first) == 1
    cloud.close()

    shutil.move(state / "releases", tmp_path / "new-releases")
    shutil.copytree(tmp_path / "old-releases", state / "releases")
    with pytest.raises(ConfigError, match="state folder is older than the database"):
        open_cloud(state, ReckoningWorkers(), FakeClock())
    shutil.rmtree(state / "releases")
    shutil.move(tmp_path / "new-releases", state / "releases")
    open_cloud(state, ReckoningWorkers(), FakeClock()).close()

    for name in ("cloud.sqlite", "cloud.sqlite-wal", "cloud.sqlite-shm"):
        (state / name).unlink(missing_ok=True)
    shutil.move(tmp_path / "old.sqlite", state / "cloud.sqlite")
    with pytest.raises(ConfigError, match="database is older than the state folder"):
        open_cloud(state, ReckoningWorkers(), FakeClock())


# -- Ray away, and the end ------------------------------------------------------------------------


def _line(state: Path) -> LineStatus | None:
    port = read_port(state)
    if port is None:
        return None
    try:
        (line,) = fetch_status(f"127.0.0.1:{port}", timeout_s=10.0).lines
    except Exception:
        return None
    return line


def _workers(state: Path) -> list[WorkerStatus]:
    line = _line(state)
    return [] if line is None else list(line.workers)


def test_a_copied_folder_serves_when_the_first_one_is_dead_and_not_before(
    tmp_path: Path, bare: Pair, programs: Callable[..., subprocess.Popen[bytes]]
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    first, copy = tmp_path / "first", tmp_path / "copy"

    def serve(state: Path) -> subprocess.Popen[bytes]:
        return programs(
            "serve", "--no-work", "--state", state, "--listen", "127.0.0.1:0",
            "--pair", bare.dir, "--database-url", url, "--set", "work.lease_s=3",
        )  # fmt: skip

    serving = serve(first)
    _wait(lambda: read_port(first) is not None)
    shutil.copytree(first, copy, ignore=shutil.ignore_patterns("port"))
    assert serve(copy).wait(TIMEOUT_S) == 2
    serving.kill()
    serving.wait(TIMEOUT_S)
    took_over = serve(copy)
    _wait(lambda: read_port(copy) is not None)
    assert took_over.poll() is None


@pytest.fixture
def programs() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []

    def start(*words: object) -> subprocess.Popen[bytes]:
        code = "import sys; from driftline_shared.program.cli import main; sys.exit(main())"
        process = subprocess.Popen(
            [sys.executable, "-c", code, "cloud", *map(str, words)],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait(TIMEOUT_S)


def test_ray_that_cannot_be_reached_keeps_nobody_from_serving_or_stopping(
    tmp_path: Path, bare: Pair, programs: Callable[..., subprocess.Popen[bytes]]
) -> None:
    state = tmp_path / "state"
    port = free_port()
    cloud = programs(
        "serve", "--state", state, "--listen", "127.0.0.1:0", "--pair", bare.dir,
        "--workers", "ray", "--ray-address", f"127.0.0.1:{port}",
    )  # fmt: skip
    _wait(lambda: any(one.state == "blocked" for one in _workers(state)))
    (worker,) = _workers(state)
    assert f"no Ray cluster answers at 127.0.0.1:{port}" in worker.reason
    began_s = time.monotonic()
    cloud.send_signal(signal.SIGTERM)
    assert cloud.wait(TIMEOUT_S) == 0
    assert time.monotonic() - began_s < 60  # 30 s, on a machine that is not busy


def test_work_that_hears_nothing_is_told_then_killed(tmp_path: Path, bare: Pair) -> None:
    deaf = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(sys.argv[1]).write_text(sys.stdin.readline())\n"
        "time.sleep(600)\n"
    )
    heard = tmp_path / "heard"
    said: list[tuple[str, str]] = []
    supervisor = Supervisor(
        [sys.executable, "-c", deaf, str(heard)],
        feed=b"orders\n",
        say=lambda state, reason: said.append((state, reason)),
        settings=WorkSettings(restart_s=0.01),
        grace_s=0.2,
    )
    halt = threading.Event()
    running = threading.Thread(target=supervisor.run, args=(halt,))
    running.start()
    _wait(heard.exists)
    halt.set()
    running.join(TIMEOUT_S)
    assert not running.is_alive()
    assert said == []


def test_work_that_dies_is_told_and_started_again(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "with pathlib.Path(sys.argv[1]).open('a') as file: file.write('x')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    marks = tmp_path / "marks"
    said: list[tuple[str, str]] = []
    halt = threading.Event()

    def say(state: str, reason: str) -> None:
        said.append((state, reason))
        if len(said) == 3:
            halt.set()

    Supervisor(
        [sys.executable, "-c", code, str(marks)],
        feed=b"",
        say=say,
        settings=WorkSettings(restart_s=0.01, most_restart_s=0.02),
        grace_s=1.0,
    ).run(halt)
    assert marks.read_text() == "xxx"
    assert [state for state, _ in said] == ["gone"] * 3
    assert said[0][1] == "its process was ended by SIGKILL; another starts in 0.01 s"
    assert said[2][1].endswith("in 0.02 s")
