"""A setting that a replay does not read is refused with the way to say it."""

from __future__ import annotations

import pytest

from driftline_cloud.config import CloudConfig
from driftline_device.config import DeviceConfig
from driftline_lab.replay.effect import CLOUD_UNREAD, DEVICE_READ, refuse_without_effect
from driftline_lab.replay.settings import ReplayOptions
from driftline_shared.errors import ConfigError
from driftline_shared.tokens import SamplingPolicy


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
