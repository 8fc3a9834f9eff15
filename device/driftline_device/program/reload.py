"""Take up changed settings without a restart: what can be, and a word in the log on the rest.

A configuration that does not read changes nothing: the settings in force stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel

from driftline_device.api.key import Key
from driftline_device.config import DeviceConfig
from driftline_device.daemon.daemon import Daemon
from driftline_shared.errors import DriftlineError
from driftline_shared.program.logs import set_log_level
from driftline_shared.program.section import is_live

Kind = TypeVar("Kind", bound=BaseModel)

_log = structlog.get_logger(__name__)


class Reloader:
    """Reads the configuration anew, from file, environment and flags, and hands it on."""

    def __init__(
        self,
        daemon: Daemon,
        config: DeviceConfig,
        read: Callable[[], DeviceConfig],
        key: Key | None = None,
    ) -> None:
        """`key`: of the local API, which may get another token."""
        self._daemon = daemon
        self._config = config
        self._read = read
        self._key = key or Key(config.api)

    def reload(self) -> None:
        """Take up what has changed; for the thread that answers. Raises nothing."""
        try:
            new = self._read()
            merged = with_live(self._config, new).with_hand_of(new)
            holders = self._key.check(merged.api)
        except DriftlineError as error:
            _log.error("settings.kept", error=str(error), fix=error.fix)
            return
        except Exception:
            _log.exception("settings.kept")
            return
        taken, waiting = changes(self._config, merged), changes(merged, new)
        self._config = merged
        if self._key.take(holders) and not any("api." in name for name in taken):
            taken.append("api.keys_file" if merged.api.keys_file else "api.token_file")
        set_log_level(self._config.log.level)
        self._daemon.take_settings(self._config)
        _log.info("settings.taken", keys=taken)
        if waiting:
            _log.warning("settings.wait", keys=waiting, fix="These hold from the next start on.")


def with_live(old: Kind, new: Kind) -> Kind:
    """`old` with those settings of `new` that a running device takes up."""
    update: dict[str, Any] = {}
    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if is_live(field):
            update[name] = after
        elif isinstance(before, BaseModel):
            update[name] = with_live(before, after)
    return old.model_copy(update=update)


def changes(old: DeviceConfig, new: DeviceConfig) -> list[str]:
    """Dotted names of the settings that differ, sorted; values stay out of logs."""
    before, after = _flat(old.model_dump()), _flat(new.model_dump())
    keys = before.keys() | after.keys()
    return sorted(key for key in keys if before.get(key) != after.get(key))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found
