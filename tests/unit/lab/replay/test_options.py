"""The replay's command line: wrong values are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_cloud.config import CloudConfig
from driftline_device.config import DeviceConfig
from driftline_lab.replay.options import (
    CLOUD_UNREAD,
    DEVICE_READ,
    answers_of,
    policy_from,
    refuse_without_effect,
    speed_of,
    times_of,
)
from driftline_lab.replay.settings import ReplayOptions
from driftline_shared.errors import ConfigError
from driftline_shared.tokens import SamplingPolicy


def test_a_policy_is_read_with_and_without_its_table(tmp_path: Path) -> None:
    for text in ("token_share = 0.25\n", "[sampling]\ntoken_share = 0.25\n"):
        (tmp_path / "p.toml").write_text(text)
        assert policy_from(tmp_path / "p.toml").token_share == 0.25
    (tmp_path / "p.toml").write_text("token_share = 1\nimages_may_leave = true\n")
    assert policy_from(tmp_path / "p.toml").token_share == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokenshare = 1\n", "unknown key 'tokenshare'"),
        ("token_share = 2.0\n", "token_share"),
        ("token_share = [", "is not TOML"),
        ("[sampling]\ntoken_share = 0.5\n[gate]\nx = 1\n", "'gate' stands beside"),
        ("token_share = 0.5\n[sampling]\n", "'token_share' stands beside"),
        ("sampling = 3\n", "sampling is a table"),
        ("gate_quantile = true\n", "gate_quantile: .* valid number, not true"),
        ('gate_quantile = "0.5"\n', 'gate_quantile: .* valid number, not "0.5"'),
        ('images_may_leave = "yes"\n', 'images_may_leave: .* valid boolean, not "yes"'),
        ("sample_bytes = 1.0\n", "sample_bytes: .* valid integer, not 1.0"),
        ("day_bytes = 1979-05-27\n", "day_bytes: .* valid integer"),
        ("audit_rate = nan\n", "audit_rate"),
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
    for value in ("inf", "nan", "-1", "86401"):
        with pytest.raises(ConfigError, match=r"times\.step_s"):
            times_of([f"step_s={value}"])
    with pytest.raises(ConfigError, match=r"times\.step: unknown key"):
        times_of(["step=1"])


@pytest.mark.parametrize(
    ("program", "key", "told"),
    [
        ("cloud", "pair", "--pair"),
        ("cloud", "state", "folder of its own"),
        ("cloud", "database_url", "folder of its own"),
        ("cloud", "metrics.port", "serves nobody"),
        ("cloud", "sampling.token_share", "--policy"),
        ("device", "pair", "--pair"),
        ("device", "sampling.token_share", "--policy"),
        ("device", "seed", "reads .*poll_s"),
        ("device", "trace.folder", "reads .*poll_s"),
    ],
)
def test_a_key_without_effect_is_refused(program: str, key: str, told: str) -> None:
    options = ReplayOptions(
        pair="tiny",
        policy=SamplingPolicy(),
        cloud_settings={key: 1} if program == "cloud" else {},
        device_settings={key: 1} if program == "device" else {},
    )
    with pytest.raises(ConfigError, match=f"--set-{program} {key} has no effect .*{told}"):
        refuse_without_effect(options)


def test_a_key_that_is_read_or_that_nobody_knows_goes_on() -> None:
    refuse_without_effect(
        ReplayOptions(
            pair="tiny",
            cloud_settings={"rounds.seed": 1, "sampling.token_share": 0.5, "typo": 1},
            device_settings={"poll_s": 1.0, "probe.num_timed": 1, "typo": 1},
        )
    )
    assert set(CLOUD_UNREAD) <= set(CloudConfig.model_fields)
    assert set(DEVICE_READ) <= set(DeviceConfig.model_fields)
