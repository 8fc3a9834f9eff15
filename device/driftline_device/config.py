"""The device's configuration: file, then environment, then flags; unknown keys are errors.

    driftline-device.toml                 batch_size = 4     [probe]  latency_ratio = 3.0
    DRIFTLINE_DEVICE_PROBE__NUM_TIMED=4   sections are joined by two underscores
    --set probe.num_timed=4               flags win

Sections are the very dataclasses that the parts read, so a default is written down once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_state_path
from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator
from pydantic_settings import SettingsConfigDict

from driftline_device.api.settings import ApiConfig
from driftline_device.runtime.factory import DEFAULT_PROVIDERS, CompressionChoice, RuntimeName
from driftline_device.runtime.runtime import UploadFrom
from driftline_device.sources.address import without_secrets
from driftline_device.sources.arrivals import FolderSettings
from driftline_device.sources.frames import FrameSettings
from driftline_device.sources.source import MAX_PIXELS
from driftline_device.updates.admission import SizeLimits
from driftline_device.updates.probe import ProbeLimits
from driftline_device.updates.watch import WatchLimits
from driftline_shared.bounds import check_policy
from driftline_shared.codec.regions import RegionSettings
from driftline_shared.errors import DriftlineError
from driftline_shared.program.config import (
    NESTED,
    LogConfig,
    MetricsConfig,
    ProgramSettings,
    load_settings,
    strict,
)
from driftline_shared.program.logs import LogFile
from driftline_shared.tokens import SamplingPolicy


def default_state() -> Path:
    """Where this user's device keeps its state, by the rules of the platform."""
    return user_state_path("driftline") / "device"


class SpoolConfig(BaseModel):
    """Bounds of the spool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: int = Field(default=256 << 20, ge=1 << 10)
    max_samples: int = Field(default=100_000, ge=1)


class DeviceLogConfig(LogConfig):
    """Logs on standard error, and in `file` below the state folder where one is named.

    The file is begun anew after `max_bytes`; `keep` older ones stay beside it.
    """

    file: str = ""
    max_bytes: int = Field(default=10 << 20, ge=1 << 12, le=1 << 30)
    keep: int = Field(default=3, ge=1, le=100)


class DeviceConfig(ProgramSettings):
    """Everything `driftline device` reads. Times in seconds.

    `cloud`: host:port, empty works alone. `pace`: questions a second, 0 as fast as possible.
    `question`: asked about each image of a folder, each frame of a video or camera. `sources`: read
    where no `--source` is given; passwords in URLs are not shown. `frames`: which of a video or
    camera. `folder`: when files of a watched folder are read. `seed`: of sampling, negative for a
    new one at each start. `settle_s`: most to wait between sources for samples to leave and updates
    to come.
    `quiet_s`: how long nothing must happen to count as settled. `drain_s`: most to wait for
    samples to leave at the end.
    `sampling`: policy until the cloud gives one. `threads`: of the CPU, 0 leaves the library's
    choice, nothing takes what was prepared, else 1. `precision`: of an export's graphs, empty takes
    what was prepared, else int8. `providers`: of onnxruntime, the first of them that is there.
    `compressor`: a method that drops or merges visual tokens, empty for none; its
    `compressor_options`; `upload_from`: the tokens that may be sent, those it leaves or all.
    `images_may_leave`: what the owner allows; a policy may ask for images, never allow
    them. `regions`: how the parts of an image that leave are made.
    """

    model_config = SettingsConfigDict(
        env_prefix="DRIFTLINE_DEVICE_", env_nested_delimiter=NESTED, extra="forbid", frozen=True
    )

    state: Path = Field(default_factory=default_state)
    pair: str = "tiny"
    cloud: str = ""
    runtime: RuntimeName = "auto"
    compute: str = "cpu"
    threads: int | None = Field(default=None, ge=0, le=1024)
    precision: str = ""
    providers: tuple[str, ...] = DEFAULT_PROVIDERS
    compressor: str = ""
    compressor_options: dict[str, Any] = Field(default_factory=dict)
    upload_from: UploadFrom = "all"
    batch_size: int = Field(default=8, ge=1, le=256)
    pace: float = Field(default=0.0, ge=0.0)
    question: str = ""
    sources: tuple[str, ...] = ()
    seed: int = -1
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    images_may_leave: bool = False
    window: int = Field(default=200, ge=1, le=100_000)
    poll_s: float = Field(default=5.0, gt=0.0)
    status_s: float = Field(default=1.0, gt=0.0)
    settle_s: float = Field(default=0.0, ge=0.0)
    settle_every: int = Field(default=0, ge=0)
    quiet_s: float = Field(default=2.0, ge=0.0)
    drain_s: float = Field(default=30.0, ge=0.0)
    events: Path | None = None
    spool: SpoolConfig = SpoolConfig()
    metrics: MetricsConfig = MetricsConfig()
    api: ApiConfig = ApiConfig()
    log: DeviceLogConfig = DeviceLogConfig()
    sampling: Annotated[SamplingPolicy, strict(SamplingPolicy)] = SamplingPolicy()
    regions: Annotated[RegionSettings, strict(RegionSettings)] = RegionSettings()
    sizes: Annotated[SizeLimits, strict(SizeLimits)] = SizeLimits()
    frames: Annotated[FrameSettings, strict(FrameSettings)] = FrameSettings()
    folder: Annotated[FolderSettings, strict(FolderSettings)] = FolderSettings()
    probe: Annotated[ProbeLimits, strict(ProbeLimits)] = ProbeLimits()
    watch: Annotated[WatchLimits, strict(WatchLimits)] = WatchLimits()

    @property
    def compression(self) -> CompressionChoice | None:
        """The compressor that is wanted, if any."""
        if not self.compressor:
            return None
        return CompressionChoice(
            name=self.compressor, options=self.compressor_options, upload_from=self.upload_from
        )

    @property
    def log_file(self) -> LogFile | None:
        """The file that is logged to, if any."""
        if not self.log.file:
            return None
        path = self.state / self.log.file
        return LogFile(path=path, max_bytes=self.log.max_bytes, keep=self.log.keep)

    @field_validator("cloud")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and (not host or not port.isdigit() or not 0 < int(port) <= 65_535):
            raise ValueError("is host:port, for example 127.0.0.1:7443, or empty to work alone")
        return value

    @field_validator("sampling")
    @classmethod
    def _sound_policy(cls, value: SamplingPolicy) -> SamplingPolicy:
        try:
            check_policy(value)
        except DriftlineError as error:
            raise ValueError(str(error)) from error
        return value

    @field_serializer("sources")
    def _without_secrets(self, value: tuple[str, ...]) -> list[str]:
        return [without_secrets(text) if "://" in text else text for text in value]

    @field_validator("frames")
    @classmethod
    def _reachable(cls, value: FrameSettings) -> FrameSettings:
        if value.min_change >= 1 or not value.timeout_s > 0:
            raise ValueError("min_change is below 1 and timeout_s above 0")
        return value

    @field_validator("sizes", "probe", "watch", "frames", "folder")
    @classmethod
    def _not_negative(cls, value: Any) -> Any:
        for name, number in dataclasses.asdict(value).items():
            if not number >= 0:
                raise ValueError(f"{name} is {number}, not 0 or more")
        return value


def load_config(
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> DeviceConfig:
    """The configuration in force; ConfigError names the first wrong key and says what is right.

    `overrides`: dotted key -> value, as flags give them.
    """
    return load_settings(DeviceConfig, file, overrides, environment)
