"""The replay's command line: wrong values are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_lab.replay.options import answers_of, policy_from, speed_of, times_of
from driftline_shared.errors import ConfigError


def test_a_policy_is_read_with_and_without_its_table(tmp_path: Path) -> None:
    for text in ("token_share = 0.25\n", "[sampling]\ntoken_share = 0.25\n"):
        (tmp_path / "p.toml").write_text(text)
        assert policy_from(tmp_path / "p.toml").token_share == 0.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokenshare = 1\n", "unknown key 'tokenshare'"),
        ("token_share = 2.0\n", "token_share"),
        ("token_share = [", "is not TOML"),
    ],
)
def test_a_wrong_policy_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        policy_from(tmp_path / "p.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        policy_from(tmp_path / "missing.toml")


def test_speed_and_answers() -> None:
    assert (speed_of("max"), speed_of("2.5"), answers_of("recompute")) == (0.0, 2.5, "recompute")
    for text in ("fast", "0", "-1", "nan", "inf"):
        with pytest.raises(ConfigError, match="--speed"):
            speed_of(text)
    with pytest.raises(ConfigError, match="recorded or recompute"):
        answers_of("true")


def test_times_are_settings() -> None:
    assert times_of(["step_s=0.5"]).step_s == 0.5
    with pytest.raises(ConfigError, match=r"times\.step: unknown key"):
        times_of(["step=1"])
