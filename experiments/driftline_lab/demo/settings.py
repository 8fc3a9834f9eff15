"""The settings files of the demo's two programs, written as a user would write them."""

from __future__ import annotations

from pathlib import Path

from driftline_lab.demo.options import DemoOptions

_CLOUD = """# Written by driftline demo.
state = "{state}"
listen = "127.0.0.1:0"
pair = "{pair}"

[workers]
kind = "{workers}"

[rounds]
seed = {seed}
poll_s = 0.2

[rounds.trigger]
round_samples = {round_samples}
drift_share = 0.0
max_age_s = 0.0

[sampling]
revision = 1
max_sample_share = {uplink_share}
token_share = {token_share}
"""

_DEVICE = """# Written by driftline demo.
state = "{state}"
pair = "{pair}"
cloud = "{cloud}"
seed = {seed}
poll_s = 0.5
status_s = 0.5
settle_s = {settle_s}
settle_every = {settle_every}
window = 150
drain_s = 60.0
"""


def write_cloud_config(options: DemoOptions) -> Path:
    """The cloud's settings; the path of the file."""
    sent = options.uplink_share * options.pace.settle_every
    path = options.state / "cloud.toml"
    path.write_text(
        _CLOUD.format(
            state=options.state / "cloud",
            pair=options.pair,
            workers=options.workers,
            seed=options.seed,
            round_samples=max(2, int(sent)),
            uplink_share=options.uplink_share,
            token_share=options.token_share,
        )
    )
    return path


def write_device_config(options: DemoOptions, address: str) -> Path:
    """The device's settings; the path of the file."""
    path = options.state / "device.toml"
    path.write_text(
        _DEVICE.format(
            state=options.state / "device",
            pair=options.pair,
            cloud=address,
            seed=options.seed,
            settle_s=options.pace.settle_s,
            settle_every=options.pace.settle_every,
        )
    )
    return path
