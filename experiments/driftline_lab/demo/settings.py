"""The settings files of the demo's two programs, written as a user would write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit

from driftline_lab.demo.options import DemoOptions

EVENTS = "events.jsonl"
"""The device's file of events, below the demo's state."""


def write_cloud_config(options: DemoOptions) -> Path:
    """The cloud's settings; the path of the file."""
    # Half of what a step of a drifted domain may send: no step misses its round by a few samples,
    # and what the source sends (a tenth) starts none.
    round_samples = max(2, round(options.uplink_share * options.pace.step_questions / 2))
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
                # By order of the demo alone, which asks for it when `round_samples` wait at a step.
                "trigger": {"enabled": False, "round_samples": round_samples},
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
            "events": str(options.state / EVENTS),
            "events_max_bytes": 1 << 40,  # the whole course of the run is read from it
            "show_answers": False,
            "pair": options.pair,
            "seed": options.seed,
            "poll_s": 0.5,
            "status_s": 0.2,
            "step_questions": options.pace.step_questions,
            # No answer may depend on how busy this machine is.
            "probe": {"latency_slack_ms": 60_000.0},
            "window": 150,
            "drain_s": 60.0,
        },
    )


def assigned(settings: Sequence[str]) -> list[str]:
    """key=value settings as flags of a program."""
    return [word for setting in settings for word in ("--set", setting)]


def _write(path: Path, settings: Mapping[str, Any]) -> Path:
    path.write_text(f"# Written by driftline demo.\n{tomlkit.dumps(settings)}", encoding="utf-8")
    return path
