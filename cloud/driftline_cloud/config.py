"""The cloud's configuration: file, then environment, then flags; unknown keys are errors.

    driftline.toml                       [rounds.trigger]  round_samples = 128
    DRIFTLINE_CLOUD_ROUNDS__SEED=7       sections are joined by two underscores
    --set rounds.seed=7                  flags win

Sections are the very dataclasses that the parts read, so a default is written down once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import SettingsConfigDict

from driftline_cloud.distill.gate import GateLimits
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.intake.admission import Quota
from driftline_cloud.release.choose import ChooseSettings
from driftline_cloud.rounds.settings import RoundSettings
from driftline_shared.bounds import check_policy
from driftline_shared.errors import DriftlineError
from driftline_shared.program.config import (
    NESTED,
    LogConfig,
    MetricsConfig,
    ProgramSettings,
    load_settings,
    strict,
)
from driftline_shared.tokens import SamplingPolicy

ENV_PREFIX = "DRIFTLINE_CLOUD_"
T = TypeVar("T")


class WorkersConfig(BaseModel):
    """Where labelling and distilling run. `device`: cpu, cuda.

    `ray_address`: of a cluster; empty starts Ray here. `num_labellers`: teachers at work at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local", "ray"] = "local"
    ray_address: str = ""
    num_labellers: int = Field(default=1, ge=1, le=4096)
    device: str = "cpu"


class CloudConfig(ProgramSettings):
    """Everything `driftline cloud serve` reads. `database_url`: empty is SQLite in `state`.

    `update_expires_s`: after its round a device may no longer apply an update; 0: never.
    `drain_s`: for running work when the cloud stops.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter=NESTED, extra="forbid", frozen=True
    )

    state: Path = Path("driftline-cloud")
    database_url: str = ""
    listen: str = "127.0.0.1:7443"
    pair: str = "tiny"
    workers: WorkersConfig = WorkersConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()
    sampling: Annotated[SamplingPolicy, strict(SamplingPolicy)] = SamplingPolicy()
    quota: Annotated[Quota, strict(Quota)] = Quota()
    rounds: Annotated[RoundSettings, strict(RoundSettings)] = RoundSettings()
    gate: Annotated[GateLimits, strict(GateLimits)] = GateLimits()
    distil: dict[str, Any] = Field(default_factory=dict)
    dwc: Annotated[ChooseSettings, strict(ChooseSettings)] = ChooseSettings()
    update_expires_s: int = Field(default=0, ge=0)
    drain_s: float = Field(default=20.0, ge=0.0)

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:
            raise ValueError("is host:port, for example 127.0.0.1:7443 (port 0: any free one)")
        return value

    @field_validator("sampling")
    @classmethod
    def _sound_policy(cls, value: SamplingPolicy) -> SamplingPolicy:
        return _sound(value, lambda: check_policy(value))

    @field_validator("distil")
    @classmethod
    def _known_distil(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _sound(value, lambda: DistilSettings.from_mapping(value))

    @field_validator("rounds")
    @classmethod
    def _sound_rounds(cls, value: RoundSettings) -> RoundSettings:
        if not 0.0 < value.holdout_share < 1.0:
            raise ValueError("holdout_share is above 0 and below 1")
        if value.most_samples < 2 or value.trigger.round_samples < 2:
            raise ValueError("a round needs at least 2 samples: one to learn from, one to judge by")
        return value

    @property
    def database(self) -> str:
        """The SQL URL in force."""
        return self.database_url or f"sqlite:///{self.state.resolve() / 'cloud.sqlite'}"


def load_config(
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> CloudConfig:
    """The configuration in force, as `load_settings` reads it."""
    return load_settings(CloudConfig, file, overrides, environment)


def _sound(value: T, check: Any) -> T:
    try:
        check()
    except DriftlineError as error:
        raise ValueError(str(error)) from error
    return value
