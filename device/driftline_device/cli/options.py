"""Flags that several commands take, and how settings are read: file, environment, flags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from driftline_device.config import DeviceConfig

ConfigFlag = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")]
StateFlag = Annotated[
    Path | None, typer.Option("--state", help="Folder for everything the device keeps.")
]
PairFlag = Annotated[
    str | None, typer.Option("--pair", help="Name of a shipped pair, or a pair folder.")
]
SetFlag = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, as key=value; may be repeated.", metavar="KEY=V"),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON document.")]
PrintFlag = Annotated[
    bool, typer.Option("--print-config", help="Print what is in force as JSON, and stop.")
]


def load(file: Path | None, set_: list[str] | None, flags: dict[str, object]) -> DeviceConfig:
    """The settings in force. Flags that are None were not given. Raises ConfigError."""
    from driftline_device.config import load_config
    from driftline_shared.program.config import parse_assignment

    overrides: dict[str, object] = dict(parse_assignment(text) for text in set_ or ())
    overrides |= {key: value for key, value in flags.items() if value is not None}
    return load_config(file, overrides)
