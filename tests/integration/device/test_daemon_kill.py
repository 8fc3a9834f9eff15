"""Kill -9 of a whole device process at each stage, then a restart: nothing lost, nothing doubled.

A real process, a real spool and a real link to a cloud on loopback; only the model is a fake one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driftline_shared.tokens import SamplingPolicy
from tests.fakes.cloud_server import FakeCloud
from tests.fakes.runtime import adapter, write_dataset, write_pair
from tests.fakes.runtime import stream as questions
from tests.fakes.updates import make_update
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration

NUM_QUESTIONS = 30
POLICY = SamplingPolicy(
    revision=1, gate_quantile=0.5, max_sample_share=1.0, audit_rate=0.0, token_scorer="magnitude"
)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def pair_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), questions(NUM_QUESTIONS, hard=True))


@pytest.fixture
def cloud() -> Iterator[FakeCloud]:
    with FakeCloud() as running:
        running.policy = POLICY
        yield running


def offer(cloud: FakeCloud, **switches: float) -> None:
    manifest, blob = make_update(adapter(**switches), 1)
    cloud.blobs[manifest.blob_digest] = blob
    cloud.manifest = manifest


def start(state: Path, pair_dir: Path, cloud: FakeCloud, path: Path | str, kill_at: str) -> Any:
    command = [sys.executable, "-m", "tests.integration.device.fake_device"]
    arguments = [str(state), str(pair_dir), cloud.address, str(path), kill_at]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def live(*args: Any, killed: bool) -> None:
    """One life of the device: to its end, or to its death."""
    process = start(*args)
    _, log = process.communicate(timeout=60)
    expected = -signal.SIGKILL if killed else 0
    assert process.returncode == expected, log.decode(errors="replace")[-3000:]


def events(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state / "events.jsonl").read_text().splitlines()]


def check_samples(state: Path, cloud: FakeCloud) -> None:
    """What was appended has arrived, and is stored once."""
    noted = [bytes.fromhex(row["sample"]) for row in events(state) if row["sent"]]
    assert len(set(noted)) == len(noted)
    assert set(noted) <= set(cloud.stored)
    status = json.loads((state / "status.json").read_text())
    spool = status["spool"]
    assert (spool["num_samples"], spool["num_evicted"], spool["num_refused"]) == (0, 0, 0)
    # The spool's counts are durable: as many left it as ever came in, and each is in the cloud.
    assert spool["num_appended"] == spool["num_acked"] == len(cloud.stored)


@pytest.mark.parametrize("kill_at", ["answered:7", "appending:5", "appended:5"])
def test_killed_while_answering_no_sample_is_lost_or_doubled(
    tmp_path: Path, pair_dir: Path, path: Path, cloud: FakeCloud, kill_at: str
) -> None:
    state = tmp_path / "state"
    live(state, pair_dir, cloud, path, kill_at, killed=True)
    live(state, pair_dir, cloud, path, "", killed=False)
    rows = events(state)
    assert [row["n"] for row in rows][-NUM_QUESTIONS:] == list(range(1, NUM_QUESTIONS + 1))
    check_samples(state, cloud)


@pytest.mark.parametrize(
    ("kill_at", "version"),
    [
        ("fetching", 1),
        ("verified", 1),
        ("staged", 1),
        ("probing", 0),
        ("pointed", 1),
        ("active", 1),
    ],
)
def test_killed_while_updating_the_right_version_runs(
    tmp_path: Path, pair_dir: Path, path: Path, cloud: FakeCloud, kill_at: str, version: int
) -> None:
    offer(cloud, skill=1.0)
    state = tmp_path / "state"
    live(state, pair_dir, cloud, path, kill_at, killed=True)
    live(state, pair_dir, cloud, path, "", killed=False)
    rows = events(state)[-NUM_QUESTIONS:]
    assert len(rows) == NUM_QUESTIONS
    assert rows[-1]["version"] == version
    assert all(row["correct"] == (row["version"] == 1) for row in rows)
    told = [(report.version, report.outcome, report.reason) for _, report in cloud.reports]
    if version == 1:
        assert (1, "applied", "applied") in told
        assert not [each for each in told if each[1] in ("failed", "rolled_back")]
    else:
        assert told == [(1, "failed", "probe_interrupted")]
        assert cloud.queries[-1].failed_versions == (1,)
    check_samples(state, cloud)


@pytest.mark.parametrize("kill_at", ["remembered", "failed"])
def test_killed_while_failing_the_version_is_never_tried_again(
    tmp_path: Path, pair_dir: Path, path: Path, cloud: FakeCloud, kill_at: str
) -> None:
    offer(cloud, harm=1.0)
    state = tmp_path / "state"
    live(state, pair_dir, cloud, path, kill_at, killed=True)
    fetched = len(cloud.fetch_offsets)
    live(state, pair_dir, cloud, path, "", killed=False)
    assert len(cloud.fetch_offsets) == fetched
    assert cloud.queries[-1].failed_versions == (1,)
    assert {row["version"] for row in events(state)} <= {0}
    assert [report.outcome for _, report in cloud.reports] == ["failed"]
    check_samples(state, cloud)


def test_killed_again_and_again_at_any_moment(
    tmp_path: Path, pair_dir: Path, path: Path, cloud: FakeCloud
) -> None:
    """Deaths at moments nobody chose: the version is the good one or the base, never a wreck."""
    offer(cloud, skill=1.0)
    state = tmp_path / "state"
    for number in range(4):
        process = start(state, pair_dir, cloud, path, "")
        until(lambda: (state / "events.jsonl").exists())
        before = len(events(state))
        until(lambda n=before + 3 * number: len(events(state)) > n)
        process.kill()
        process.communicate(timeout=60)
        text = (state / "events.jsonl").read_text()
        (state / "events.jsonl").write_text(text[: text.rfind("\n") + 1])
    live(state, pair_dir, cloud, path, "", killed=False)
    assert len(events(state)) >= NUM_QUESTIONS
    check_samples(state, cloud)
    left = [report for _, report in cloud.reports if report.outcome in ("failed", "rolled_back")]
    assert (events(state)[-1]["version"] == 1) != bool(left)


def test_sigterm_stops_reading_and_lets_samples_leave(
    tmp_path: Path, pair_dir: Path, path: Path, cloud: FakeCloud
) -> None:
    state = tmp_path / "state"
    process = start(state, pair_dir, cloud, path, "hold")
    until(lambda: (state / "events.jsonl").exists() and len(events(state)) > 3)
    process.terminate()
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log.decode(errors="replace")[-3000:]
    assert json.loads((state / "status.json").read_text())["activity"] == "stopped"
    check_samples(state, cloud)
