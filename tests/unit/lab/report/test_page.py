"""The page of a run, as text: all is escaped, nothing is fetched, every part is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_lab.cli import app
from driftline_lab.report.page import headline, report_page
from driftline_lab.report.series import MOST_BANDS, MOST_MARKS
from driftline_lab.runs.domains import in_order
from driftline_lab.runs.folder import Run, read_run, write_run
from driftline_lab.runs.run import (
    DomainAccuracy,
    Metrics,
    RunInfo,
    RunRound,
    RunUpdate,
    TimelineRow,
    Timings,
    UplinkTotals,
)
from driftline_shared.errors import ConfigError, DataError, MissingPackageError
from tests.fakes.html import Reader
from tests.fakes.runs import HOSTILE, write_fake_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(write_fake_run(tmp_path_factory.mktemp("run"), num_answers=600))


def test_what_comes_from_data_is_text(run: Run) -> None:
    read = Reader(report_page(run))
    assert "script" not in read.names and "img" not in read.names
    # The question and the answer of a picture, the reason of a round, a setting.
    assert sum(HOSTILE in text for text in read.texts) >= 4


def test_nothing_is_fetched(run: Run) -> None:
    read = Reader(report_page(run))
    assert len(read.addresses) == len(run.pictures)
    assert all(address.startswith("data:image/png;base64,") for address in read.addresses)
    assert "link" not in read.names and "@import" not in report_page(run)


def test_equal_runs_have_the_same_page(run: Run, tmp_path: Path) -> None:
    again = write_fake_run(tmp_path, num_answers=600)
    assert report_page(read_run(again)) == report_page(run)


def test_every_round_update_and_domain_is_named(run: Run) -> None:
    texts = " ".join(Reader(report_page(run)).texts)
    for word in ("night", "sketch", "rejected", "failed", "v1", "v2", "out of memory", "73 %"):
        assert word in texts


def test_an_update_that_never_answered_is_shown_at_the_end(tmp_path: Path) -> None:
    update = RunUpdate(version=7, digest="ab", bytes=1200)
    info = RunInfo(kind="demo", pair="tiny", seed=0)
    rows = [TimelineRow(n=n) for n in range(1, 30)]
    write_run(tmp_path, info, Metrics(updates=(update,)), Timings(), rows)
    texts = Reader(report_page(read_run(tmp_path))).texts
    assert "version 7, 1.2 kB, came after the last answer" in texts
    assert any("v7 (1.2 kB) came after the last answer: the curve" in text for text in texts)


def test_a_round_by_order_is_told_so(tmp_path: Path) -> None:
    rounds = (RunRound(number=1, state="done", num_samples=1, trigger="operator", at=1),)
    gate = {"base_agreement": 1.0, "candidate_agreement": 0.4, "candidate_num_holdout": 5.0}
    numbers = {f"gate.{name}": value for name, value in gate.items()}
    rounds = (replace(rounds[0], numbers=numbers),)
    info = RunInfo(kind="demo", pair="tiny", seed=0)
    rows = [TimelineRow(n=n) for n in range(1, 30)]
    write_run(tmp_path, info, Metrics(rounds=rounds), Timings(), rows)
    texts = " ".join(Reader(report_page(read_run(tmp_path))).texts)
    assert ", started by order" in texts and "round 1 by order, 1 sample, done" in texts
    assert "operator" not in texts and "100 % → 40 % of 5 held-out samples" in texts


def test_a_long_run_has_a_page_that_says_what_it_leaves_out(tmp_path: Path) -> None:
    count = 5 * MOST_BANDS
    rounds = tuple(
        RunRound(number=n, state="done", num_samples=9, at=n, numbers={"x": 1.0})
        for n in range(1, count + 1)
    )
    updates = tuple(RunUpdate(version=n, digest="", bytes=9, at=n) for n in range(1, count + 1))
    write_run(
        tmp_path,
        RunInfo(kind="demo", pair="tiny", seed=0),
        Metrics(rounds=rounds, updates=updates),
        Timings(),
        (TimelineRow(n=n, domain=str(n % 7), correct=True) for n in range(1, count + 1)),
    )
    page = report_page(read_run(tmp_path))
    texts = " ".join(Reader(page).texts)
    for words in (
        "a point every 11 answers",
        f"more often than {MOST_BANDS} times",
        f"the first {MOST_MARKS} are marked",
        f"the first {MOST_MARKS} of 2,500 rounds",
    ):
        assert words in texts
    assert len(page) < 1_000_000
    assert "a point every" not in " ".join(Reader(report_page(read_run(short(tmp_path)))).texts)


def short(folder: Path) -> Path:
    rows = [TimelineRow(n=n) for n in range(1, 30)]
    info = RunInfo(kind="demo", pair="tiny", seed=0)
    write_run(folder / "short", info, Metrics(), Timings(), rows)
    return folder / "short"


def test_a_timeline_without_its_end_is_named(tmp_path: Path) -> None:
    run = write_fake_run(tmp_path, num_answers=30)
    lines = (run / "timeline.jsonl").read_text().splitlines(keepends=True)
    (run / "timeline.jsonl").write_text("".join(lines[:20]))
    with pytest.raises(DataError, match=r"timeline\.jsonl has 20 lines, .* 30 answers"):
        report_page(read_run(run))


def test_the_largest_numbers_have_a_page(tmp_path: Path) -> None:
    most = (1 << 63) - 1
    write_run(
        tmp_path,
        RunInfo(kind="replay", pair="tiny", seed=3),
        Metrics(
            uplink=UplinkTotals(seen=20, sent=20, bytes=most),
            updates=(RunUpdate(version=most, digest="", bytes=most, at=1),),
            rounds=(RunRound(number=1, state="done", num_samples=most, numbers={"x": 1e300}),),
            numbers={"uplink.jpeg90_bytes_per_sample": 1e300},
        ),
        Timings(),
        [TimelineRow(n=n, uncertainty=1e300, bytes=most) for n in range(1, 21)],
    )
    assert "inf" not in report_page(read_run(tmp_path)).replace("information", "")


def test_a_run_of_nothing_has_a_page(tmp_path: Path) -> None:
    info = RunInfo(kind="replay", pair="tiny", seed=3)
    write_run(tmp_path, info, Metrics(), Timings(), [])
    texts = Reader(report_page(read_run(tmp_path))).texts
    assert (
        "This run kept no timeline." in texts and "No round was started. 0 samples came." in texts
    )


def test_one_answer_without_truth_or_score_has_a_page(tmp_path: Path) -> None:
    write_run(
        tmp_path,
        RunInfo(kind="replay", pair="tiny", seed=3),
        Metrics(),
        Timings(),
        [TimelineRow(n=1)],
    )
    assert "svg" in Reader(report_page(read_run(tmp_path))).names


def test_the_headline_names_drifted_domains_in_the_streams_order() -> None:
    row = DomainAccuracy(before=0.5, after=0.7, teacher=0.9)
    metrics = Metrics(accuracy={"fog": row, "night": row, "source": row})
    ordered = in_order(metrics, ["source", "night"])
    assert list(ordered.accuracy) == ["source", "night", "fog"]
    assert headline(ordered) == (
        "The device made up 50 % on night and 50 % on fog of its distance to the teacher"
    )


def test_a_run_without_drift_is_told_by_its_rounds(run: Run) -> None:
    assert headline(replace(run.metrics, accuracy={})) == "4 rounds, 2 updates"


@pytest.mark.parametrize("flag", ["--out", "--screenshot"])
def test_a_folder_is_no_page(run: Run, tmp_path: Path, flag: str) -> None:
    done = CliRunner().invoke(app, ["report", str(run.folder), flag, str(tmp_path)])
    assert isinstance(done.exception, ConfigError) and "is a folder" in str(done.exception)


def test_a_page_that_cannot_be_written_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["report", str(run.folder), "--out", str(tmp_path / "file/x")])
    assert isinstance(done.exception, ConfigError) and "cannot be written" in str(done.exception)


def test_the_command_writes_the_page(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(run.folder), "--out", str(out)])
    assert done.exit_code == 0 and out.read_text().startswith("<!doctype html>")
    assert str(out) in done.stdout


def test_a_replay_says_what_before_and_after_are(tmp_path: Path) -> None:
    row = DomainAccuracy(before=0.5, after=0.6)
    info = RunInfo(kind="replay", pair="tiny", seed=0, link="lte")
    write_run(tmp_path, info, Metrics(accuracy={"night": row}), Timings(), [])
    texts = " ".join(Reader(report_page(read_run(tmp_path))).texts)
    assert "before as they were recorded" in texts and "link lte" in texts
    assert "+10.0 points" in texts


def test_a_replay_of_recorded_answers_shows_nothing_recovered(tmp_path: Path) -> None:
    row = DomainAccuracy(before=0.5, after=0.5)
    info = RunInfo(kind="replay", pair="tiny", seed=0, settings={"answers": "recorded"})
    write_run(tmp_path, info, Metrics(accuracy={"night": row}), Timings(), [])
    texts = " ".join(Reader(report_page(read_run(tmp_path))).texts)
    assert "Answers are as recorded" in texts
    assert "recovered" not in texts and "+0.0" not in texts and "drifted domains" not in texts


def test_a_picture_of_the_page_needs_a_browser(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPackageError, match="no Chromium") as caught:
        words = ["report", str(run.folder), "--screenshot", str(tmp_path / "page.png")]
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert "apt-get install chromium" in caught.value.fix
