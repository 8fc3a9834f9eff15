"""The cloud's configuration: file, then environment, then flags; unknown keys are errors.

    driftline.toml                       [rounds.trigger]  round_samples = 128
    DRIFTLINE_CLOUD_ROUNDS__SEED=7       sections are joined by two underscores
    --set rounds.seed=7                  flags win

Sections are the very dataclasses that the parts read, so a default is written down once.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from driftline_cloud.distill.gate import GateLimits
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.intake.admission import Quota
from driftline_cloud.release.choose import ChooseSettings
from driftline_cloud.rounds.settings import RoundSettings
from driftline_shared.bounds import check_policy
from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.tokens import SamplingPolicy

ENV_PREFIX = "DRIFTLINE_CLOUD_"
_NESTED = "__"
T = TypeVar("T")


def _strict(kind: type) -> BeforeValidator:
    """Refuse keys that the dataclass `kind` does not have, at any depth."""

    def check(value: object) -> object:
        if isinstance(value, Mapping):
            _refuse_unknown(value, kind)
        return value

    return BeforeValidator(check)


def _refuse_unknown(values: Mapping[Any, object], kind: type) -> None:
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            raise ValueError(f"unknown key {key!r}; known are {', '.join(sorted(hints))}")
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            _refuse_unknown(value, hints[key])


class WorkersConfig(BaseModel):
    """Where labelling and distilling run. `device`: cpu, cuda.

    `ray_address`: of a cluster; empty starts Ray here. `num_labellers`: teachers at work at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local", "ray"] = "local"
    ray_address: str = ""
    num_labellers: int = Field(default=1, ge=1, le=4096)
    device: str = "cpu"


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


class CloudConfig(BaseSettings):
    """Everything `driftline cloud serve` reads. `database_url`: empty is SQLite in `state`.

    `update_expires_s`: after its round a device may no longer apply an update; 0: never.
    `drain_s`: for work in hand when the cloud stops.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter=_NESTED, extra="forbid", frozen=True
    )

    state: Path = Path("driftline-cloud")
    database_url: str = ""
    listen: str = "127.0.0.1:7443"
    pair: str = "tiny"
    workers: WorkersConfig = WorkersConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()
    sampling: Annotated[SamplingPolicy, _strict(SamplingPolicy)] = SamplingPolicy()
    quota: Annotated[Quota, _strict(Quota)] = Quota()
    rounds: Annotated[RoundSettings, _strict(RoundSettings)] = RoundSettings()
    gate: Annotated[GateLimits, _strict(GateLimits)] = GateLimits()
    distil: dict[str, Any] = Field(default_factory=dict)
    dwc: Annotated[ChooseSettings, _strict(ChooseSettings)] = ChooseSettings()
    update_expires_s: int = Field(default=0, ge=0)
    drain_s: float = Field(default=20.0, ge=0.0)

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
        given = dict(init_settings() if callable(init_settings) else {})
        file = given.pop("_file", {})
        return (
            InitSettingsSource(settings_cls, init_kwargs=given),
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=file),
        )

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
    """The configuration in force; ConfigError names the first wrong key and says what is right.

    `overrides`: dotted key -> value, as flags give them.
    """
    _refuse_unknown_environment(os.environ if environment is None else environment)
    given: dict[str, Any] = {"_file": _read(file) if file else {}}
    for key, value in (overrides or {}).items():
        _put(given, key.split("."), value)
    try:
        return CloudConfig(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where or 'configuration'}: {first['msg']}") from error
    except ConfigError:
        raise
    except ValueError as error:  # a section in the environment that is no JSON
        raise ConfigError(str(error)) from error


def parse_assignment(text: str) -> tuple[str, object]:
    """`rounds.seed=7` as (key, value); a value that is no TOML literal is taken as text."""
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
    known = set(CloudConfig.model_fields)
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
    known = set(CloudConfig.model_fields)
    for name in sorted(environment):
        if not name.upper().startswith(ENV_PREFIX):
            continue
        section = name[len(ENV_PREFIX) :].lower().split(_NESTED)[0]
        if section not in known:
            raise ConfigError(f"environment variable {name}: unknown key {section!r}")


def _sound(value: T, check: Any) -> T:
    try:
        check()
    except DriftlineError as error:
        raise ValueError(str(error)) from error
    return value
