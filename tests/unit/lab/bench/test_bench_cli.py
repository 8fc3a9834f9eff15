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
from driftline_lab.outputs import probed
from driftline_shared.errors import ConfigError, DriftlineError


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
        probed(tmp_path, "--out")
    assert probed(tmp_path / "file", "--out") and (tmp_path / "file").read_text() == "kept"
    assert probed(tmp_path / "new", "--out") and not (tmp_path / "new").exists()


@pytest.mark.parametrize("bench", ["loop", "tokens", "akd"])
@pytest.mark.parametrize(
    ("seeds", "said"),
    [("0,0", "named twice"), ("0,x", "whole numbers"), ("", "no comma-separated")],
)
def test_wrong_seeds_are_refused_before_work(bench: str, seeds: str, said: str) -> None:
    done = CliRunner().invoke(app, [bench, "--seeds", seeds])
    assert isinstance(done.exception, ConfigError) and said in str(done.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("akd --set learning_rate=abc", "'abc' is neither a number nor"),
        ("akd --set max_steps=inf", "'inf' is neither a number nor"),
        ("akd --set a5", "'a5' is not name=value"),
        ("akd --packed 0.1,2", "--packed: '0.1,2' is no comma-separated list of numbers above 0"),
        ("akd --set a5=1,2 --set a5=3", "--set a5 stands twice"),
        ("akd --set a5=1,1", "a value is named twice"),
        ("akd --set a55=1", "distil.a55: unknown key"),
        ("akd --pair smol --set min_steps=120", "of these the pair names"),
        ("tokens --set learning_rate=1e-3,2e-3", "one value of each setting"),
        ("tokens --set a55=1", "distil.a55: unknown key"),
        ("tokens --rounds-at 0.3", "0.3 is none of what is measured"),
        ("tokens --scorers random --round-scorers magnitude", "magnitude is none of what"),
        ("tokens --scorers random,random", "random is named twice"),
        ("share --domains night,foo", "foo"),
        ("loop --segments source", "names no drift"),
        ("loop --segments nihgt", "night"),
        ("akd --rounds 1000", "1 questions in each of 1000 rounds"),
        ("loop --document a.json --seeds 0", "--seeds says nothing beside --document"),
        ("gate --document a.json --pair boards", "--pair says nothing beside --document"),
        ("groups --document a.json --drifts fog,night", "--drifts says nothing beside"),
        ("groups --drifts night,fgo", "'fgo' is unknown; did you mean 'fog'? there are"),
        ("token-codecs --domains nope", "--domains: 'nope' is unknown; there are"),
        ("escalate --domains night,night", "--domains: night is named twice"),
        ("intake --waiting x", "--waiting: 'x' is no comma-separated list of whole numbers"),
        ("ray-labelling --labellers 0,1", "--labellers: '0,1' is no comma-separated list"),
        ("corruptions --severities 3,x", "--severities: '3,x' is no comma-separated list"),
        ("poison --levels 0.2,nan", "--levels: '0.2,nan' is no comma-separated list of numbers"),
        ("runtimes --runtimes torch,tosh", "--runtimes: 'tosh' is unknown; did you mean 'torch'?"),
    ],
)
def test_what_is_wrong_is_said_before_any_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    for module in ("cloud.akd", "tokens.run"):
        monkeypatch.setattr(f"driftline_lab.bench.{module}.load_models", lambda _: pytest.fail("!"))
    done = CliRunner().invoke(app, words.split())
    assert isinstance(done.exception, DriftlineError) and said in str(done.exception)


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("x")
    for words in ("tokens --work", "loop --document", "gate --document", "groups --document"):
        done = CliRunner().invoke(app, [*words.split(), str(kept), "--out", str(kept)])
        assert "a file that is read" in str(done.exception), words
    assert kept.read_text() == "x"


def test_akd_makes_a_plan_of_each_domain_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Sequence[akd.Plan], Sequence[str]]] = []

    def run(pair: str, plans: Sequence[akd.Plan], values: Sequence[str]) -> dict[str, Any]:
        asked.append((pair, plans, values))
        return {"rows": []}

    monkeypatch.setattr(akd, "run_akd", run)
    flags = ["--domains", "night,fog", "--seeds", "0,1", "--set", "learning_rate=1e-3,2e-3"]
    flags += ["--packed", "0.1,0.04"]
    done = CliRunner().invoke(app, ["akd", *flags])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["result"] == {"rows": []}
    ((pair, plans, values),) = asked
    assert pair == "tiny"
    assert [(plan.domain, plan.seed) for plan in plans] == [
        ("night", 0), ("night", 1), ("fog", 0), ("fog", 1)
    ]  # fmt: skip
    assert {tuple(plan.packed) for plan in plans} == {(0.1, 0.04)}
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
