"""What a command line says, as values; every wrong one is named with what is right."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast, get_args

from pydantic import TypeAdapter, ValidationError

from driftline_device.config import DeviceConfig
from driftline_device.updates.settings import UpdateSettings
from driftline_lab.replay.settings import Answers, ComputeTimes, ReplayOptions
from driftline_shared.errors import ConfigError
from driftline_shared.program.compressor import CompressorSettings
from driftline_shared.program.config import parse_assignment
from driftline_shared.program.policy import Policy
from driftline_shared.program.section import read_section
from driftline_shared.tokens import SamplingPolicy

_POLICY: TypeAdapter[SamplingPolicy] = TypeAdapter(Policy)


def policy_from(path: Path) -> SamplingPolicy:
    """The sampling policy in a TOML file: its keys at the top, or in a table `sampling`.

    Raises ConfigError that names the file and the first wrong key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    inner = content.get("sampling", content)
    beside = sorted(content.keys() - {"sampling"}) if inner is not content else []
    if beside:
        raise ConfigError(
            f"{path}: {beside[0]!r} stands beside [sampling]; a policy file holds that table alone"
        )
    if not isinstance(inner, dict):
        raise ConfigError(f"{path}: sampling is a table of settings, [sampling]")
    try:
        # As JSON: a value of TOML has a type already, and a mapping is no policy in strict Python.
        return _POLICY.validate_json(json.dumps(inner, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        given = f", not {json.dumps(first['input'], default=str)}" if where else ""
        raise ConfigError(
            f"{path}: {f'{where}: ' if where else ''}{first['msg']}{given}"
        ) from error


def answers_of(text: str) -> Answers:
    """`recorded` or `recompute`; ConfigError for anything else."""
    known = get_args(Answers)
    if text not in known:
        raise ConfigError(f"--answers {text!r}: it is {' or '.join(known)}")
    return cast(Answers, text)


def speed_of(text: str) -> float:
    """Virtual seconds a second at most, 0 for `max`; ConfigError for anything else."""
    if text == "max":
        return 0.0
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not (math.isfinite(speed) and speed > 0):
        raise ConfigError(f"--speed {text!r}: it is a number above 0, or max")
    return speed


def assignments(texts: Sequence[str] | None) -> dict[str, object]:
    """key=value texts as settings; ConfigError for one without `=`."""
    return dict(parse_assignment(text) for text in texts or ())


def times_of(texts: Sequence[str] | None) -> ComputeTimes:
    """The defaults with what the texts set; ConfigError for a wrong key or value."""
    return read_section(ComputeTimes, assignments(texts), "times")


_OF_THE_REPLAY = "the replay keeps its state in a folder of its own and takes it away"
_NO_SERVER = "the replay serves nobody"

CLOUD_UNREAD: Mapping[str, str] = {
    "pair": "name it with --pair",
    "state": _OF_THE_REPLAY,
    "database_url": _OF_THE_REPLAY,
    "listen": _NO_SERVER,
    "metrics": _NO_SERVER,
    "log": _NO_SERVER,
    "drain_s": _NO_SERVER,
}
"""Keys of the cloud's settings, and why they would change nothing."""

DEVICE_READ = frozenset(
    {
        *("poll_s", "spool", "runtime", "compute", "threads", "precision", "providers"),
        "upload_from",
        *UpdateSettings.model_fields,
        *CompressorSettings.model_fields,
    }
)
"""Keys of the device's settings that reach a replay's device."""


def refuse_without_effect(options: ReplayOptions) -> None:
    """ConfigError for the first setting of cloud or device that the replay overrides or ignores."""
    for key in options.cloud_settings:
        root = key.partition(".")[0]
        if root in CLOUD_UNREAD:
            raise _unread("cloud", key, CLOUD_UNREAD[root])
        if root == "sampling" and options.policy is not None:
            raise _unread("cloud", key, "--policy is the whole sampling policy: set it there")
    for key in options.device_settings:
        root = key.partition(".")[0]
        if root == "pair":
            raise _unread("device", key, "name it with --pair")
        if root == "sampling":
            raise _unread("device", key, "the cloud gives the policy: name it with --policy")
        if root in DeviceConfig.model_fields and root not in DEVICE_READ:
            raise _unread(
                "device", key, f"a replay's device reads {', '.join(sorted(DEVICE_READ))}"
            )


def _unread(program: str, key: str, why: str) -> ConfigError:
    return ConfigError(f"--set-{program} {key} has no effect on a replay: {why}")
