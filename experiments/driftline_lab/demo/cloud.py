"""The demo's cloud: its settings."""

from __future__ import annotations

from dataclasses import dataclass

from driftline_cloud.config import CloudConfig, load_config
from driftline_lab.demo.options import DemoOptions
from driftline_lab.demo.settings import assigned, write_cloud_config
from driftline_shared.program.config import parse_assignment


@dataclass(frozen=True, kw_only=True)
class DemoCloud:
    """A cloud as `driftline ARGUMENTS` starts it, and what it reads there."""

    arguments: tuple[str, ...]
    config: CloudConfig


def prepare_cloud(options: DemoOptions) -> DemoCloud:
    """Write the cloud's settings and read them as the cloud will; ConfigError for a wrong one."""
    file = write_cloud_config(options)
    paced = [f"{key}={value}" for key, value in options.pace.cloud.items()]
    settings = (*paced, *options.cloud_settings)
    return DemoCloud(
        arguments=("cloud", "serve", "--config", str(file), *assigned(settings)),
        config=load_config(file, dict(map(parse_assignment, settings))),
    )
