"""How both programs read their settings: file, then environment, then flags; unknown keys are
errors.

    program.toml                          [rounds.trigger]  round_samples = 128
    DRIFTLINE_CLOUD_ROUNDS__SEED=7        sections are joined by two underscores
    --set rounds.seed=7                   flags win

A program's settings are one subclass of `ProgramSettings`. Its sections are the very `Section`s
that the parts read, so a default is written down once.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource
from pydantic_settings.exceptions import SettingsError

from driftline_shared.errors import ConfigError
from driftline_shared.program.nearest import nearest
from driftline_shared.program.section import Section, explained, setting

NESTED = "__"
"""What joins sections in the name of an environment variable."""

_FILE = "_file"


class MetricsConfig(Section):
    """Where Prometheus reads."""

    host: str = setting("127.0.0.1", "address of the metrics")
    port: int = setting(0, "0: none", ge=0, le=65_535)


class LogConfig(Section):
    """Logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "`debug`, `info`, `warning`, `error`", live=True
    )
    form: Literal["text", "json"] = setting(
        "text", "of what goes to standard error: `text` or `json`"
    )


class ProgramSettings(BaseSettings):
    """Base of a program's settings: flags win over environment, environment over file."""

    shown_by: ClassVar[str] = ""
    """The command that shows every setting with its value, where there is one."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The three sources; the file's content comes in as `_file` among the initial values."""
        given = dict(init_settings())
        file = given.pop(_FILE, {})
        return (
            InitSettingsSource(settings_cls, init_kwargs=given),
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=file),
        )


Settings = TypeVar("Settings", bound=ProgramSettings)


def load_settings(
    kind: type[Settings],
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings in force; ConfigError names the first wrong key and says what is right.

    `overrides`: dotted key -> value, as flags give them.
    """
    overrides = overrides or {}
    environment = os.environ if environment is None else environment
    try:
        return _load(kind, file, overrides, environment)
    except ConfigError as error:
        if not kind.shown_by or error.has_own_fix:
            raise
        given = _given_by(
            kind,
            str(error),
            file,
            overrides or {},
            os.environ if environment is None else environment,
        )
        fix = f"Correct {given}; `{kind.shown_by}` shows every setting."
        raise ConfigError(str(error), reason=error.reason, fix=fix) from error


def _given_by(
    kind: type[ProgramSettings],
    told: str,
    file: Path | None,
    overrides: Mapping[str, object],
    environment: Mapping[str, str],
) -> str:
    """What gave the key that an error begins with: a flag, the environment or the file."""
    key = told.partition(":")[0]
    if any(key == one or key.startswith(f"{one}.") for one in overrides):
        return f"the flag or --set that gives {key}"
    variable = kind.model_config["env_prefix"] + key.upper().replace(".", NESTED)
    for name in environment:
        if variable == name.upper() or variable.startswith(name.upper() + NESTED):
            return f"the environment variable {name}"
    return "what is named" if file is None else f"{file}"


def _load(
    kind: type[Settings],
    file: Path | None,
    overrides: Mapping[str, object],
    environment: Mapping[str, str],
) -> Settings:
    _refuse_unknown_environment(kind, environment)
    given: dict[str, Any] = {_FILE: _read(kind, file) if file else {}}
    for key, value in overrides.items():
        _put(given, key.split("."), value)
    try:
        return kind(**given)
    except ValidationError as error:
        raise explained(error, kind) from error
    except ConfigError:
        raise
    except SettingsError as error:  # a list or a section in the environment that is no JSON
        named = re.search(r'field "(\w+)"', str(error))
        key = named[1] if named else ""
        variable = f"{kind.model_config['env_prefix']}{key.upper()}"
        raise ConfigError(
            f"environment variable {variable}: a list is written as JSON, "
            f"""{variable}='["a", "b"]'; a key of a section by itself, {variable}{NESTED}KEY=..."""
        ) from error
    except ValueError as error:
        raise ConfigError(str(error)) from error


def parse_assignment(text: str) -> tuple[str, object]:
    """`rounds.seed=7` as (key, value); a value that is no TOML literal is taken as text."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(
            f"--set {text!r} is not key=value", fix="Write it so: --set rounds.seed=7"
        )
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def _read(kind: type[ProgramSettings], file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read: {error.strerror}",
            fix="Name a TOML file that this user can read with --config.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    unknown = sorted(set(content) - set(kind.model_fields))
    if unknown:
        known = sorted(kind.model_fields)
        meant = nearest(unknown[0], known)
        raise ConfigError(f"{file}: unknown key {unknown[0]!r}; known are {known}{meant}")
    return content


def _put(values: dict[str, Any], path: list[str], value: object) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{'.'.join(path)}: {part} is no section")
    values[path[-1]] = value


def _refuse_unknown_environment(
    kind: type[ProgramSettings], environment: Mapping[str, str]
) -> None:
    prefix = kind.model_config["env_prefix"]
    for name in sorted(environment):
        if not name.upper().startswith(prefix):
            continue
        section = name[len(prefix) :].lower().split(NESTED)[0]
        if section not in kind.model_fields:
            meant = nearest(section, kind.model_fields)
            raise ConfigError(
                f"environment variable {name}: unknown key {section!r}{meant}",
                fix=f"Correct the name, or unset {name}.",
            )
