"""`driftline demo` twice with one seed: the same answers, rounds, updates and table."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from driftline_cloud.state import hold_state
from driftline_lab.demo.processes import command
from driftline_lab.runs.folder import METRICS, TIMELINE, read_run
from driftline_shared.host.lock import state_lock
from tests.fakes.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SHORT = (
    *("--segments", "source,night", "--questions", "160", "--tests", "32"),
    *("--set-device", "step_questions=80"),
    *("--set-cloud", "rounds.trigger.round_samples=20"),
    *("--set-cloud", "distil.max_steps=8", "--set-cloud", "distil.min_steps=8"),
    *("--set-cloud", "distil.num_source_rows=64", "--set-cloud", "distil.gate_source_rows=32"),
    *("--set-cloud", "distil.threads=1"),
    # Every candidate that passes at all becomes a version.
    *("--set-cloud", "gate.sure_of_gain=0.0", "--set-cloud", "gate.sure_of_harm=1.0"),
    *("--set-cloud", "gate.sure_of_source_harm=1.0"),
)


def demo(folder: Path, seed: int) -> dict[str, object]:
    """The document of a short run; its run folder is `folder`."""
    out = folder / "demo.json"
    words = command("demo", *SHORT, "--seed", str(seed), "--out", str(folder), "--json", str(out))
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    document: dict[str, object] = json.loads(out.read_text())
    return document


def timeless(document: dict[str, object]) -> dict[str, object]:
    """Without what a clock decides."""
    downlink = {**document["downlink"], "apply_pause_ms": 0.0}  # type: ignore[dict-item]
    return {**document, "seconds": 0.0, "downlink": downlink}


def test_one_seed_gives_the_same_numbers_each_time(tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    documents = [demo(first, 0), demo(again, 0)]
    for name in (METRICS, TIMELINE):
        assert (first / name).read_bytes() == (again / name).read_bytes(), name
    assert timeless(documents[0]) == timeless(documents[1])

    found = read_run(first)
    assert len(found.metrics.rounds) >= 2, "the second rehearses the first"
    assert found.metrics.updates, "an update came into force"
    digests = [each.digest for each in found.metrics.updates]
    assert [each["digest"] for each in documents[0]["updates_made"]] == digests  # type: ignore[index]
    versions = [row.version for row in found.timeline()]
    assert versions == sorted(versions)
    assert [n for n, one in enumerate(versions) if one != versions[n - 1] and n][:1] in (
        [80],
        [160],
    )


def test_ctrl_c_ends_the_demo_and_both_programs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    words = command("demo", *SHORT, "--keep-state", str(state))
    with (tmp_path / "out").open("wb") as out:
        # As from a terminal: a shell without job control has its children ignore Ctrl-C.
        running = subprocess.Popen(
            words,
            stdout=out,
            stderr=out,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        until(lambda: (state / "device" / "status.json").exists(), 300.0)
        running.send_signal(signal.SIGINT)
        assert running.wait(120.0) not in (0, -signal.SIGINT)
    finally:
        running.terminate()
        running.wait(120.0)
    assert "Traceback" not in (tmp_path / "out").read_text()
    # Whoever still ran would hold its state.
    with state_lock(state / "device"), hold_state(state / "cloud"):
        pass
