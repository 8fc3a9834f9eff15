"""The settings files of the demo's two programs, written as a user would write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from driftline_lab.demo.options import DemoOptions


def write_cloud_config(options: DemoOptions) -> Path:
    """The cloud's settings; the path of the file."""
    samples_sent = options.uplink_share * options.pace.settle_every
    return _write(
        options.state / "cloud.toml",
        {
            "state": str(options.state / "cloud"),
            "listen": "127.0.0.1:0",
            "pair": options.pair,
            "workers": {"kind": options.workers},
            "rounds": {
                "seed": options.seed,
                "poll_s": 0.2,
                "trigger": {
                    "round_samples": max(2, int(samples_sent)),
                    "drift_share": 0.0,
                    "max_age_s": 0.0,
                },
            },
            "sampling": {
                "revision": 1,
                "max_sample_share": options.uplink_share,
                "token_share": options.token_share,
            },
        },
    )


def write_device_config(options: DemoOptions) -> Path:
    """The device's settings but for the cloud's address; the path of the file."""
    return _write(
        options.state / "device.toml",
        {
            "state": str(options.state / "device"),
            "events": str(options.state / "events.jsonl"),
            "pair": options.pair,
            "seed": options.seed,
            "poll_s": 0.5,
            "status_s": 0.5,
            "settle_s": options.pace.settle_s,
            "settle_every": options.pace.settle_every,
            "window": 150,
            "drain_s": 60.0,
        },
    )


def _write(path: Path, settings: Mapping[str, Any]) -> Path:
    path.write_text(f"# Written by driftline demo.\n{tomlkit.dumps(settings)}")
    return path
