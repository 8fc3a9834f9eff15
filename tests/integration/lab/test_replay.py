"""Whole replays of a random pair's trace: the same numbers each time, in one process and in two."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_lab.machine import versions
from driftline_lab.replay.links import PROFILES
from driftline_lab.replay.run import run_replay
from driftline_lab.runs.folder import read_run
from driftline_lab.trace.cutting import merge
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.trace.event import EventKind
from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.writer import open_writer
from tests.fakes.replays import EVERYTHING, NO_ROUNDS, quick_options, record_small
from tests.fakes.tiny_pair import make_tiny_pair

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pair(tmp_path_factory.mktemp("replay") / "pair")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory, pair: Path) -> Path:
    return record_small(tmp_path_factory.mktemp("replay") / "trace", pair)


def test_a_trace_as_it_was_in_one_process_again_and_in_two(
    tmp_path: Path, pair: Path, trace: Path
) -> None:
    options = quick_options(pair, link=PROFILES["lte"], cache=tmp_path / "cache")
    first = run_replay(trace, options, out=tmp_path / "first")
    again = run_replay(trace, options, out=tmp_path / "again")
    apart = quick_options(pair, link=PROFILES["lte"], processes=True)
    run_replay(trace, apart, out=tmp_path / "apart")
    found = {
        name: (tmp_path / name / "metrics.json").read_bytes()
        for name in ("first", "again", "apart")
    }
    assert found["first"] == found["again"] == found["apart"]
    timelines = {(tmp_path / n / "timeline.jsonl").read_bytes() for n in found}
    assert len(timelines) == 1
    assert again.hits["labels_made"] == again.hits["jobs_made"] == 0
    metrics = first.metrics
    assert metrics.numbers["settled"] == 1.0 and metrics.numbers["samples.stored"] == 30
    assert [each.state for each in metrics.rounds] == ["done", "done"]
    assert [each.version for each in metrics.updates] == [1, 2]
    run = read_run(tmp_path / "first")
    assert run.info.pair == load_pair(pair).name and run.info.versions == versions()
    assert run.info.link == "lte" and run.metrics == metrics
    assert sum(row.sent for row in run.timeline()) == metrics.uplink.sent == 30


def test_samples_are_chosen_anew_and_answers_made_anew(
    tmp_path: Path, pair: Path, trace: Path
) -> None:
    recorded = [event for event in open_trace(trace).events() if event.sent]
    policy = SamplingPolicy(
        gate_quantile=0.01, token_scorer="mc_dropout", token_share=0.25, max_sample_share=0.8
    )
    options = quick_options(
        pair, policy=policy, answers="recompute", link=PROFILES["train"], seed=2
    )
    metrics = run_replay(trace, options, out=tmp_path / "run").metrics
    assert 0 < metrics.uplink.sent < len(recorded)
    assert metrics.numbers["settled"] == 1.0 and metrics.updates
    versions = [row.version for row in read_run(tmp_path / "run").timeline()]
    assert versions == sorted(versions)
    again = run_replay(trace, options)
    assert again.metrics == metrics


def test_another_policy_is_another_run_and_the_recorded_answers_stay(
    pair: Path, trace: Path
) -> None:
    found = []
    for share in (0.25, 1.0):
        policy = SamplingPolicy(
            gate_quantile=0.01,
            token_scorer="random",
            token_share=share,
            max_sample_share=1.0,
            repeat_distance=0.0,
        )
        options = quick_options(pair, policy=policy, cloud_settings=NO_ROUNDS)
        found.append(run_replay(trace, options))
    few, all_ = (each.metrics for each in found)
    assert few.uplink.sent == all_.uplink.sent == 30 and few.uplink.bytes < all_.uplink.bytes
    assert few.accuracy == all_.accuracy


def test_what_does_not_fit_is_said(tmp_path: Path, pair: Path, trace: Path) -> None:
    bare = record_small(tmp_path / "bare", pair, count=4, all_tokens="")
    with pytest.raises(DataError, match="recorded without all its tokens"):
        run_replay(bare, quick_options(pair, policy=EVERYTHING))
    with pytest.raises(ConfigError, match=r"rounds\.sed"):
        run_replay(trace, quick_options(pair, cloud_settings={"rounds.sed": 1}))
    other = make_tiny_pair(tmp_path / "other", quantization="none")
    assert load_pair(other).base_model != load_pair(pair).base_model
    with pytest.raises(ConfigError, match="recorded on pair random with base model"):
        run_replay(trace, quick_options(other))


def test_a_second_device_is_replayed_as_recorded_but_not_anew(tmp_path: Path, pair: Path) -> None:
    folder = record_small(tmp_path / "trace", pair, count=6)
    record_small(folder, pair, count=6, device_id="device-other", seed=1)
    metrics = run_replay(folder, quick_options(pair, cloud_settings=NO_ROUNDS)).metrics
    assert metrics.numbers["devices"] == 2.0
    with pytest.raises(ConfigError, match="several devices"):
        run_replay(folder, quick_options(pair, answers="recompute"))


def test_a_merged_trace_of_device_and_cloud_counts_a_sample_once(
    tmp_path: Path, pair: Path, trace: Path
) -> None:
    recorded = open_trace(trace)
    subject = replace(recorded.manifest.subject, recorder="cloud")
    with open_writer(tmp_path / "cloud", subject) as writer:
        writer.write_next(
            [
                replace(
                    event,
                    kind=EventKind.SAMPLE,
                    verdict=verdict,
                    wall_unix_s=event.wall_unix_s + 0.1,
                )
                for event in recorded.events()
                if event.sent
                for verdict in ("stored", "duplicate")
            ]
        )
    merge([trace, tmp_path / "cloud"], tmp_path / "all")
    options = quick_options(pair, cloud_settings=NO_ROUNDS)
    alone, merged = (run_replay(each, options).metrics for each in (trace, tmp_path / "all"))
    assert merged.numbers["samples.repeated"] == 60.0 and merged.uplink == alone.uplink
    assert merged.numbers["samples.stored"] == alone.numbers["samples.stored"] == 30.0


def test_the_command_says_it_as_json(
    tmp_path: Path, pair: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from driftline_lab.cli import app

    cloud = ["--set-cloud", "rounds.trigger.round_samples=1000"]
    cloud += ["--set-cloud", "rounds.trigger.drift_share=0.0"]
    arguments = ["replay", str(trace), "--pair", str(pair), "--no-cache", "--json", *cloud]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads(done.stdout.splitlines()[-1])["metrics"]["uplink"]["sent"] == 30
