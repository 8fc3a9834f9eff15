"""The device's configuration: file, then environment, then flags; unknown keys are errors.

    driftline-device.toml                 batch_size = 4     [probe]  latency_ratio = 3.0
    DRIFTLINE_DEVICE_PROBE__NUM_TIMED=4   sections are joined by two underscores
    --set probe.num_timed=4               flags win

Sections are the very `Section`s that the parts read, and keys at the top are those of the parts
that this configuration inherits from: a default, its bounds and its meaning are written down once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from platformdirs import user_state_path
from pydantic import Field, field_serializer, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from driftline_device.api.settings import ApiConfig
from driftline_device.daemon.settings import DaemonSettings
from driftline_device.feeds.settings import FeedConfig
from driftline_device.history.settings import HistorySettings
from driftline_device.recording.settings import DeviceTraceSettings
from driftline_device.runtime.factory import DEFAULT_PROVIDERS, RuntimeName
from driftline_device.runtime.runtime import UploadFrom
from driftline_device.sinks.settings import SinkConfig, check_names, name_of
from driftline_device.sources.address import without_secrets
from driftline_device.sources.arrivals import FolderSettings
from driftline_device.sources.clips import ClipSettings
from driftline_device.sources.frames import FrameSettings
from driftline_device.sources.source import MAX_PIXELS
from driftline_device.watches.settings import WatchConfig
from driftline_shared.codec.regions import RegionSettings
from driftline_shared.program.address import check_address
from driftline_shared.program.compressor import CompressorSettings
from driftline_shared.program.config import (
    NESTED,
    LogConfig,
    MetricsConfig,
    ProgramSettings,
    load_settings,
)
from driftline_shared.program.logs import LogFile
from driftline_shared.program.section import Section, setting
from driftline_shared.spans.settings import SpanSettings
from driftline_shared.trust.credentials import IDENTITY, cloud_address


def default_state() -> Path:
    """Where this user's device keeps its state, by the rules of the platform."""
    return user_state_path("driftline") / "device"


class SpoolConfig(Section):
    """Bounds of the spool."""

    max_bytes: int = setting(256 << 20, "of waiting samples", ge=1 << 10)
    max_samples: int = setting(100_000, "waiting samples", ge=1)


class DeviceLogConfig(LogConfig):
    """Logs on standard error, and in a file below the state folder where one is named."""

    file: str = setting(
        "", "also log to this file, below the state folder, as JSON lines; empty: to none"
    )
    max_bytes: int = setting(10 << 20, "begin it anew after so many bytes", ge=1 << 12, le=1 << 30)
    keep: int = setting(3, "older ones that stay beside it", ge=1, le=100)


class DeviceConfig(ProgramSettings, DaemonSettings, CompressorSettings):
    """Everything `driftline device` reads. Times in seconds."""

    shown_by: ClassVar[str] = "driftline device run --print-config"

    model_config = SettingsConfigDict(
        env_prefix="DRIFTLINE_DEVICE_",
        env_nested_delimiter=NESTED,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    state: Path = Field(
        default_factory=default_state, description="folder for everything the device keeps"
    )
    pair: str = setting("tiny", "a shipped pair, a pair folder, or a pair's TOML file")
    pair_key: str = setting(
        "",
        "the key whose signature the pair needs ([how](models.md#sign-a-pair)): its id, or a file "
        "with its public half; empty: none is asked for",
    )
    cloud: str = setting(
        "", "host:port; empty: the cloud that enrolled this device, or none: it works alone"
    )
    runtime: RuntimeName = setting(
        "auto",
        "what executes the model: `torch`, `onnx`, or `auto`: `onnx` for an export, `torch` for a "
        "pair with its checkpoint",
    )
    compute: str = setting("cpu", "`cpu`, `cuda`")
    threads: int | None = setting(
        None,
        "of the CPU; 0: as many as this process may use; not set: what "
        "`driftline device prepare` found, else 1",
        ge=0,
        le=1024,
    )
    precision: str = setting(
        "",
        "which graphs of an export run: `fp32`, `int8`, `int4`; empty: what "
        "`driftline device prepare` found, else `int8`",
    )
    prepare_anew: bool = setting(
        True,
        "a choice of `driftline device prepare` that was made on another machine, or with another "
        "onnxruntime, is made anew while nobody asks",
    )
    providers: tuple[str, ...] = setting(
        DEFAULT_PROVIDERS,
        "of onnxruntime, in order of preference; those that are not installed are passed over, the "
        "CPU comes last by itself",
    )
    upload_from: UploadFrom = setting(
        "all", "what may be sent beside a compressor: `all` tokens of the tower, or its `survivors`"
    )
    question: str = setting(
        "", "asked about each image of a folder, each frame of a video or camera"
    )
    sources: tuple[str, ...] = setting(
        (),
        "read where no `--source` is given: a list; a URL is shown without user, password and "
        "query",
    )
    seed: int = setting(-1, "of sampling; negative: a new one at each start")
    max_pixels: int = setting(MAX_PIXELS, "larger images are refused before they are decoded", ge=1)
    images_may_leave: bool = setting(
        False, "the owner lets parts of images leave this device where the policy asks; default: no"
    )
    token_noise: float = setting(
        0.0,
        "the owner has noise put on the tokens that leave, in parts of each channel's range: less "
        "is read from them, and less learnt ([measured](../SECURITY.md#what-tokens-tell)); 0: none",
        ge=0,
        le=1,
    )
    window: int = setting(200, "answers in the rolling numbers", ge=1, le=100_000)
    drain_s: float = setting(30.0, "for waiting samples to leave at the end", ge=0)
    events: Path | None = setting(None, "a file that gets one JSON line per answer")
    events_max_bytes: int = setting(64 << 20, "begin it anew after so many bytes", ge=1 << 12)
    events_keep: int = setting(3, "older ones that stay beside it", ge=0, le=100)
    show_answers: bool = setting(True, "a line per answer on standard output")
    sinks: tuple[SinkConfig, ...] = setting(
        (), "where answers and what watches find are delivered: tables, see [sinks](#sinks)"
    )
    history: HistorySettings = HistorySettings()
    watches: tuple[WatchConfig, ...] = setting(
        (), "rules on answers, each fires sinks: tables, see [watches](#watches)"
    )
    feeds: tuple[FeedConfig, ...] = setting(
        (),
        "several sources at once, read where no `--source` is given: tables, see [feeds](#feeds)",
    )
    spool: SpoolConfig = SpoolConfig()
    metrics: MetricsConfig = MetricsConfig()
    api: ApiConfig = ApiConfig()
    log: DeviceLogConfig = DeviceLogConfig()
    regions: RegionSettings = RegionSettings()
    trace: DeviceTraceSettings = DeviceTraceSettings()
    spans: SpanSettings = SpanSettings()
    frames: FrameSettings = FrameSettings()
    clip: ClipSettings = ClipSettings()
    folder: FolderSettings = FolderSettings()

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
        try:
            return check_address(value) if value else value
        except ValueError as error:
            raise ValueError(f"{error}. Empty: the device works alone") from error

    @field_validator("sinks")
    @classmethod
    def _named_apart(cls, value: tuple[SinkConfig, ...]) -> tuple[SinkConfig, ...]:
        check_names([name_of(each) for each in value], "sinks")
        return value

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if self.feeds and self.sources:
            raise ValueError("sources and feeds are both given: make each source a feed")
        check_names([each.name for each in self.watches], "watches")
        check_names([each.name for each in self.feeds], "feeds")
        feeds = {each.name for each in self.feeds}
        for watch in self.watches:
            for name in watch.feeds if feeds else ():
                if name not in feeds:
                    raise ValueError(f"the watch {watch.name} names {name!r}, which is no feed")
        known = {name_of(each) for each in self.sinks}
        naming = {f"watch {watch.name}": watch.sinks for watch in self.watches}
        naming |= {f"feed {feed.name}": feed.sinks or () for feed in self.feeds}
        for what, names in naming.items():
            for name in names:
                if name not in known:
                    raise ValueError(f"the {what} names {name!r}, which is no sink")
        return self

    @field_serializer("sources")
    def _without_secrets(self, value: tuple[str, ...]) -> list[str]:
        return [without_secrets(text) if "://" in text else text for text in value]


def load_config(
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> DeviceConfig:
    """The configuration in force; ConfigError names the first wrong key and says what is right.

    `overrides`: dotted key -> value, as flags give them.
    """
    found = load_settings(DeviceConfig, file, overrides, environment)
    if found.cloud:
        return found
    return found.model_copy(update={"cloud": cloud_address(found.state / IDENTITY)})
