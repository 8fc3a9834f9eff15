"""The benches share one command group; a grid of `akd` reaches the bench as plans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftline_lab.bench.cli import app
from driftline_lab.bench.cloud import akd
from driftline_lab.bench.report import writable
from driftline_shared.errors import ConfigError


def test_a_file_that_cannot_be_written_is_refused_before_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(akd, "run_akd", lambda *_: {"rows": []})
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path, tmp_path / "file" / "out.json"):
        done = CliRunner().invoke(app, ["akd", "--out", str(out)])
        assert isinstance(done.exception, ConfigError) and "cannot be written" in str(
            done.exception
        )
    with pytest.raises(ConfigError):
        writable(tmp_path)
    assert writable(tmp_path / "file") and (tmp_path / "file").read_text() == "kept"
    assert writable(tmp_path / "new") and not (tmp_path / "new").exists()


@pytest.mark.parametrize("bench", ["loop", "tokens", "akd"])
@pytest.mark.parametrize(
    ("seeds", "said"), [("0,0", "named twice"), ("0,x", "whole numbers"), ("", "names no seed")]
)
def test_wrong_seeds_are_refused_before_work(bench: str, seeds: str, said: str) -> None:
    done = CliRunner().invoke(app, [bench, "--seeds", seeds])
    assert isinstance(done.exception, ConfigError) and said in str(done.exception)


def test_akd_makes_a_plan_of_each_domain_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Sequence[akd.Plan], Sequence[str]]] = []

    def run(pair: str, plans: Sequence[akd.Plan], values: Sequence[str]) -> dict[str, Any]:
        asked.append((pair, plans, values))
        return {"rows": []}

    monkeypatch.setattr(akd, "run_akd", run)
    flags = ["--domains", "night,fog", "--seeds", "0,1", "--set", "learning_rate=1e-3,2e-3"]
    done = CliRunner().invoke(app, ["akd", *flags])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["result"] == {"rows": []}
    ((pair, plans, values),) = asked
    assert pair == "tiny"
    assert [(plan.domain, plan.seed) for plan in plans] == [
        ("night", 0), ("night", 1), ("fog", 0), ("fog", 1)
    ]  # fmt: skip
    assert akd.expand(values) == [{"learning_rate": 1e-3}, {"learning_rate": 2e-3}]


def test_all_takes_benches_that_are_commands_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module, name in (
        ("device.spool", "run_spool"),
        ("device.uts", "run_uts"),
        ("device.share", "run_share"),
        ("loop", "run_loop"),
    ):
        monkeypatch.setattr(f"driftline_lab.bench.{module}.{name}", lambda *_: {"ran": True})
    done = CliRunner().invoke(app, ["all"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])["result"]
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    assert set(result) <= commands
