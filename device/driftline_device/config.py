"""The device's configuration: file, then environment, then flags; unknown keys are errors.

    driftline-device.toml                 batch_size = 4     [probe]  latency_ratio = 3.0
    DRIFTLINE_DEVICE_PROBE__NUM_TIMED=4   sections are joined by two underscores
    --set probe.num_timed=4               flags win

Sections are the very dataclasses that the parts read, so a default is written down once.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from platformdirs import user_state_path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from driftline_device.runtime.factory import RuntimeName
from driftline_device.sources.source import MAX_PIXELS
from driftline_device.updates.admission import SizeLimits
from driftline_device.updates.probe import ProbeLimits
from driftline_device.updates.rollback import WatchLimits
from driftline_shared.bounds import check_policy
from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.tokens import SamplingPolicy

ENV_PREFIX = "DRIFTLINE_DEVICE_"
_NESTED = "__"


def default_state() -> Path:
    """Where this user's device keeps its state, by the rules of the platform."""
    return user_state_path("driftline") / "device"


def _strict(kind: type) -> BeforeValidator:
    """Refuse keys that the dataclass `kind` does not have."""
    known = sorted(get_type_hints(kind))

    def check(value: object) -> object:
        unknown = sorted(set(value) - set(known)) if isinstance(value, Mapping) else []
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(known)}")
        return value

    return BeforeValidator(check)


class SpoolConfig(BaseModel):
    """Bounds of the spool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: int = Field(default=256 << 20, ge=1 << 10)
    max_samples: int = Field(default=100_000, ge=1)


class MetricsConfig(BaseModel):
    """Prometheus. `port`: 0 serves none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65_535)


class LogConfig(BaseModel):
    """Logs on standard error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Literal["debug", "info", "warning", "error"] = "info"
    form: Literal["text", "json"] = "text"


class DeviceConfig(BaseSettings):
    """Everything `driftline device` reads. Times in seconds.

    `cloud`: host:port, empty works alone. `pace`: questions a second, 0 as fast as possible.
    `question`: asked about each image of a folder. `seed`: of sampling, negative for a new one at
    each start. `settle_s`: most to wait between sources for samples to leave and updates to come.
    `quiet_s`: how long nothing must happen to count as settled. `drain_s`: most to wait for
    samples to leave at the end.
    `sampling`: policy until the cloud gives one. `threads`: of the CPU, 0 leaves the library's
    choice.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter=_NESTED, extra="forbid", frozen=True
    )

    state: Path = Field(default_factory=default_state)
    pair: str = "tiny"
    cloud: str = ""
    runtime: RuntimeName = "torch"
    compute: str = "cpu"
    threads: int = Field(default=1, ge=0, le=1024)
    batch_size: int = Field(default=8, ge=1, le=256)
    pace: float = Field(default=0.0, ge=0.0)
    question: str = ""
    seed: int = -1
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    window: int = Field(default=200, ge=1, le=100_000)
    poll_s: float = Field(default=5.0, gt=0.0)
    status_s: float = Field(default=1.0, gt=0.0)
    settle_s: float = Field(default=0.0, ge=0.0)
    quiet_s: float = Field(default=2.0, ge=0.0)
    drain_s: float = Field(default=30.0, ge=0.0)
    events: Path | None = None
    spool: SpoolConfig = SpoolConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()
    sampling: Annotated[SamplingPolicy, _strict(SamplingPolicy)] = SamplingPolicy()
    sizes: Annotated[SizeLimits, _strict(SizeLimits)] = SizeLimits()
    probe: Annotated[ProbeLimits, _strict(ProbeLimits)] = ProbeLimits()
    watch: Annotated[WatchLimits, _strict(WatchLimits)] = WatchLimits()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags (given at init), then environment, then the file (given at init as `_file`)."""
        given = dict(init_settings())
        file = given.pop("_file", {})
        return (
            InitSettingsSource(settings_cls, init_kwargs=given),
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=file),
        )

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

    @field_validator("sizes", "probe", "watch")
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
    _refuse_unknown_environment(os.environ if environment is None else environment)
    given: dict[str, Any] = {"_file": _read(file) if file else {}}
    for key, value in (overrides or {}).items():
        _put(given, key.split("."), value)
    try:
        return DeviceConfig(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where or 'configuration'}: {first['msg']}") from error
    except ConfigError:
        raise
    except ValueError as error:  # a section in the environment that is no JSON
        raise ConfigError(str(error)) from error


def parse_assignment(text: str) -> tuple[str, object]:
    """`probe.num_timed=4` as (key, value); a value that is no TOML literal is taken as text."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text!r} is not key=value")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def _read(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    known = set(DeviceConfig.model_fields)
    unknown = sorted(set(content) - known)
    if unknown:
        raise ConfigError(f"{file}: unknown key {unknown[0]!r}; known are {sorted(known)}")
    return content


def _put(values: dict[str, Any], path: list[str], value: object) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{'.'.join(path)}: {part} is no section")
    values[path[-1]] = value


def _refuse_unknown_environment(environment: Mapping[str, str]) -> None:
    known = set(DeviceConfig.model_fields)
    for name in sorted(environment):
        if not name.upper().startswith(ENV_PREFIX):
            continue
        section = name[len(ENV_PREFIX) :].lower().split(_NESTED)[0]
        if section not in known:
            raise ConfigError(f"environment variable {name}: unknown key {section!r}")
