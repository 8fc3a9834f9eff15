"""kill -9 in every state of a round: after the restarts the cloud has what it would have had."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.rounds import released_files

ROOT = Path(__file__).parents[3]
WORKING = ("snapshot", "labelling", "distilling", "gating", "compressing", "releasing")
POINTS = [
    "changed:snapshot",
    *(f"{event}:{state}" for state in WORKING for event in ("started", "worked")),
    "during:label",
    "during:batch",
    "during:distil",
    "during:score",
    "changed:done",
]

pytestmark = pytest.mark.integration


def _run(folder: Path, *points: str) -> dict[str, int]:
    """Exit status by point, in order; the last process is left alone."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.cloud.rounds_main", str(folder), *points],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    lines = [line.split() for line in done.stderr.splitlines() if line.startswith("status ")]
    assert done.returncode == 0, done.stderr[-2000:]
    return {point: int(status) for _, point, status in lines}


def _rounds(folder: Path) -> list[tuple[str, str, int]]:
    connection = sqlite3.connect(folder / "cloud.sqlite")
    try:
        return connection.execute("SELECT id, state, num_samples FROM rounds").fetchall()
    finally:
        connection.close()


def _sample_states(folder: Path) -> list[str]:
    connection = sqlite3.connect(folder / "cloud.sqlite")
    try:
        return [row[0] for row in connection.execute("SELECT state FROM samples")]
    finally:
        connection.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "state"
    assert _run(folder) == {"left-alone": 0}
    files = released_files(folder)
    assert sum(name.startswith("blobs/") for name in files) == 1
    return files


def _check_ended(folder: Path, undisturbed: dict[str, bytes]) -> None:
    ((_, state, num_samples),) = _rounds(folder)
    assert (state, num_samples) == ("done", 40)
    assert _sample_states(folder) == ["used"] * 40
    assert released_files(folder) == undisturbed


def test_one_round_killed_at_every_point_ends_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    folder = tmp_path / "state"
    points = sorted(POINTS, key=_order)
    statuses = _run(folder, *points)
    assert statuses == {**dict.fromkeys(points, -signal.SIGKILL), "left-alone": 0}
    _check_ended(folder, undisturbed)


def _order(point: str) -> tuple[int, int]:
    """Points in the order in which one round passes them."""
    event, _, name = point.partition(":")
    state = {
        **dict.fromkeys(("label", "batch"), "labelling"),
        **{"distil": "distilling", "score": "gating", "done": "releasing"},
    }
    rank = {"changed": 0, "started": 1, "during": 2, "worked": 3}[event]
    return WORKING.index(state.get(name, name)), 4 if name == "done" else rank
