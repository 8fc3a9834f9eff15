"""Two runs side by side: what differs is named, and the exit code says whether metrics do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_lab.cli import app
from driftline_lab.runs.difference import compare
from driftline_lab.runs.folder import read_run, write_run
from driftline_lab.runs.run import (
    DomainAccuracy,
    Metrics,
    RunInfo,
    RunRound,
    TimelineRow,
    Timings,
)

INFO = RunInfo(kind="demo", pair="tiny", seed=0, settings={"cloud": {"a": 1, "b": [1, 2]}})
METRICS = Metrics(
    accuracy={"night": DomainAccuracy(before=0.5, after=0.7, teacher=0.9)},
    rounds=(RunRound(number=1, state="done", num_samples=9),),
)
ROWS = [TimelineRow(n=n, correct=True) for n in (1, 2, 3)]


def run(
    folder: Path, info: RunInfo = INFO, metrics: Metrics = METRICS, rows: list[TimelineRow] = ROWS
) -> Path:
    write_run(folder, info, metrics, Timings(started_unix_s=float(len(folder.name))), rows)
    return folder


def names(pairs: tuple[object, ...]) -> list[str]:
    return [pair.name for pair in pairs]  # type: ignore[attr-defined]


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    found = compare(read_run(run(tmp_path / "a")), read_run(run(tmp_path / "longer")))
    assert found.info == () and found.same_metrics and found.first is None
    assert found.metrics == () and all(pair.same for pair in found.summary)
    assert [(pair.name, pair.a) for pair in found.summary] == [
        ("night", "50.0 % to 70.0 % of 90.0 %, 50 % recovered"),
        ("sent", "0 of 0, 0 B"),
        ("rounds", "done"),
        ("updates", "none"),
    ]


def test_domains_are_in_the_order_the_stream_met_them(tmp_path: Path) -> None:
    row = DomainAccuracy(before=0.5, after=0.7)
    metrics = Metrics(accuracy=dict.fromkeys(("art", "fog", "night", "source"), row))
    rows = [TimelineRow(n=n, domain=name) for n, name in enumerate(["night", "source", "fog"], 1)]
    other = replace(metrics, accuracy={**metrics.accuracy, "art": replace(row, after=0.8)})
    a, b = run(tmp_path / "a", metrics=metrics, rows=rows), run(tmp_path / "b", metrics=other)
    found = compare(read_run(a), read_run(b))
    assert names(found.summary)[:4] == ["source", "night", "fog", "art"]


def test_a_demo_and_a_replay_are_of_different_questions(tmp_path: Path) -> None:
    replay = replace(INFO, kind="replay")
    a, b = run(tmp_path / "a"), run(tmp_path / "b", info=replay)
    found = compare(read_run(a), read_run(b))
    assert "held-out test sets" in found.note and found.document()["note"] == found.note
    assert compare(read_run(a), read_run(a)).note == ""
    shown = CliRunner().invoke(app, ["diff", str(a), str(b)])
    assert "note: a demo and a replay" in " ".join(shown.stdout.split())


def test_what_was_set_otherwise_is_named(tmp_path: Path) -> None:
    other = replace(INFO, seed=1, settings={"cloud": {"a": 1.0, "b": [1, 3], "c": None}})
    found = compare(read_run(run(tmp_path / "a")), read_run(run(tmp_path / "b", info=other)))
    # 1 is not 1.0 in a settings file; what is None is as if it were not there.
    assert names(found.info) == ["seed", "settings.cloud.a", "settings.cloud.b.2"]
    assert found.same_metrics


def test_the_first_answer_that_differs_is_given(tmp_path: Path) -> None:
    rows = [ROWS[0], replace(ROWS[1], correct=False), replace(ROWS[2], version=1)]
    found = compare(read_run(run(tmp_path / "a")), read_run(run(tmp_path / "b", rows=rows)))
    assert found.first == (ROWS[1], rows[1])


def test_a_timeline_that_ends_before_differs_there(tmp_path: Path) -> None:
    found = compare(read_run(run(tmp_path / "a")), read_run(run(tmp_path / "b", rows=ROWS[:2])))
    assert found.first == (ROWS[2], None)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_the_exit_code_says_whether_metrics_differ(tmp_path: Path, flags: tuple[str, ...]) -> None:
    more = replace(METRICS, rounds=(*METRICS.rounds, replace(METRICS.rounds[0], number=2)))
    a, b, c = run(tmp_path / "a"), run(tmp_path / "b"), run(tmp_path / "c", metrics=more)
    same = CliRunner().invoke(app, ["diff", str(a), str(b), *flags])
    different = CliRunner().invoke(app, ["diff", str(a), str(c), *flags])
    wrong = CliRunner().invoke(app, ["diff", str(a), str(tmp_path / "nothing"), *flags])
    assert (same.exit_code, different.exit_code, wrong.exit_code) == (0, 1, 2)
    assert "rounds.2.number" in different.stdout
    assert "is no run folder" in wrong.stderr and "fix:" in wrong.stderr
    if flags:
        assert json.loads(same.stdout)["same_metrics"] is True
        pairs = json.loads(different.stdout)["metrics"]
        assert {"name": "rounds.2.number", "a": None, "b": 2} in pairs
        assert all(pair["a"] != pair["b"] for pair in pairs)
    else:
        assert "done, done" in different.stdout
