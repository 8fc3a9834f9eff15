"""The cloud's configuration: who wins, and that nothing unknown slips through."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_cloud.cli import app
from driftline_cloud.config import ENV_PREFIX, load_config
from driftline_shared.errors import ConfigError


def _file(folder: Path, text: str) -> Path:
    path = folder / "cloud.toml"
    path.write_text(text)
    return path


def test_flags_win_over_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _file(
        tmp_path,
        'pair = "file"\n[rounds]\nseed = 1\npoll_s = 9.0\n[rounds.trigger]\nround_samples = 11\n',
    )
    monkeypatch.setenv(f"{ENV_PREFIX}ROUNDS__SEED", "2")
    monkeypatch.setenv(f"{ENV_PREFIX}LISTEN", "127.0.0.1:2")
    config = load_config(file, {"rounds.seed": 3, "sampling.token_share": 0.25})
    assert config.pair == "file"
    assert config.listen == "127.0.0.1:2"
    assert (config.rounds.seed, config.rounds.poll_s) == (3, 9.0)
    assert config.rounds.trigger.round_samples == 11
    assert config.sampling.token_share == 0.25
    assert load_config(file).rounds.seed == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rounds.trigger]\ncolour = 1", "colour"),
        ("[sampling]\ncolour = 1", "colour"),
        ("[distil]\ncolour = 1", "colour"),
        ("[workers]\nkind = 'cluster'", "workers.kind"),
        ("[rounds]\nholdout_share = 1.5", "holdout_share"),
        ("listen = 'here'", "host:port"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(_file(tmp_path, text), environment={})


def test_print_config_shows_what_is_in_force_and_reads_back(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["serve", "--print-config", "--seed", "5", "--set", "quota.day_samples=7"]
    )
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert (shown["rounds"]["seed"], shown["quota"]["day_samples"]) == (5, 7)
    assert done.stderr == "", "the pair names nothing"


def test_print_config_shows_what_the_pair_names_and_says_so() -> None:
    flags = ["serve", "--pair", "smol", "--set", "distil.a5=2.0"]
    done = CliRunner().invoke(app, [*flags, "--print-config"])
    assert done.exit_code == 0, done.output
    distil = json.loads(done.stdout)["distil"]
    assert (distil["max_steps"], distil["learning_rate"], distil["a5"]) == (100, 1.5e-3, 2.0)
    assert "As pair smol names them" in done.stderr
    assert "distil.max_steps" in done.stderr and "a5" not in done.stderr
    again = load_config(None, json.loads(done.stdout), environment={})
    assert again.distil.of_pair({"max_steps": 7}).max_steps == 100, "it reads back as it was"


def test_print_config_of_a_pair_that_is_not_here_shows_the_rest() -> None:
    done = CliRunner().invoke(app, ["serve", "--pair", "nowhere", "--print-config"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["distil"]["max_steps"] == 130
    assert "no pair 'nowhere'" in done.stderr


@pytest.mark.parametrize("command", ["serve", "status"])
def test_help_has_examples(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120", "TERM": "dumb"})
    assert done.exit_code == 0
    assert f"driftline cloud {command}" in done.output.split("Examples", 1)[1]


def test_the_state_folder_names_sqlite_by_default(tmp_path: Path) -> None:
    config = load_config(None, {"state": tmp_path / "s"}, environment={})
    assert config.database == f"sqlite:///{tmp_path / 's' / 'cloud.sqlite'}"
    other = load_config(None, {"database_url": "sqlite://"}, environment={})
    assert other.database == "sqlite://"


def test_a_config_in_toml_that_names_every_section_is_read(tmp_path: Path) -> None:
    text = """
state = "here"
[sampling]
token_codec = "int4"
[rounds.retry]
max_errors = 9
[gate]
sure_of_gain = 0.95
[dwc]
max_fp16_share = 0.2
shares = [0.1, 1.0]
[workers]
kind = "ray"
ray_address = "10.0.0.1:6379"
[log]
form = "json"
"""
    config = load_config(_file(tmp_path, text), environment={})
    assert tomllib.loads(text)["dwc"]["shares"] == list(config.dwc.shares)
    assert (config.rounds.retry.max_errors, config.gate.sure_of_gain) == (9, 0.95)
