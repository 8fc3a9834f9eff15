"""`driftline lab trace make` refuses, before it loads a model, what cannot be a trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from driftline_lab.recording.cli import make
from driftline_shared.errors import ConfigError
from tests.fakes.traces import write_trace

APP = typer.Typer()
APP.command()(make)


@pytest.mark.parametrize("rate", ["nan", "inf", "0", "-1", "1e-300"])
def test_a_rate_that_gives_no_times_is_refused(tmp_path: Path, rate: str) -> None:
    result = CliRunner().invoke(APP, [str(tmp_path / "new"), "--rate", rate])
    assert isinstance(result.exception, ConfigError)
    assert "--rate" in str(result.exception)


@pytest.mark.parametrize("flag", ["--seed=-1", "--questions=99999999999", "--passes=0"])
def test_a_number_out_of_bounds_is_usage(tmp_path: Path, flag: str) -> None:
    result = CliRunner().invoke(APP, [str(tmp_path / "new"), flag])
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (2, True)


def test_a_recording_that_was_stopped_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(folder: Path, *_: object, **__: object) -> None:
        write_trace(folder, 5)
        raise KeyboardInterrupt

    monkeypatch.setattr("driftline_lab.recording.record.record", record)
    CliRunner().invoke(APP, [str(tmp_path / "new"), "--segments", "source", "--questions", "2"])
    assert list(tmp_path.iterdir()) == []


def test_a_trace_that_is_there_gets_no_second_stream(tmp_path: Path) -> None:
    write_trace(tmp_path / "old", 5)
    result = CliRunner().invoke(APP, [str(tmp_path / "old"), "--questions", "2"])
    assert isinstance(result.exception, ConfigError)
    assert "is there already" in str(result.exception)
