"""Take up changed settings without a restart: what can be, and a word in the log on the rest.

A configuration that does not read changes nothing: the settings in force stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from driftline_device.api.settings import Key
from driftline_device.config import DeviceConfig
from driftline_device.daemon.daemon import Daemon
from driftline_device.program.assembly import daemon_settings, update_settings
from driftline_shared.errors import DriftlineError
from driftline_shared.program.logs import set_log_level

LIVE = frozenset(
    {
        "api.token",
        "api.token_file",
        "batch_size",
        "log.level",
        "pace",
        "poll_s",
        "probe",
        "quiet_s",
        "sampling",
        "settle_every",
        "sizes",
        "status_s",
        "watch",
    }
)
"""Settings, or whole sections, that a running daemon takes up; docs/operations.md lists them."""

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
            merged = with_live(self._config, new)
            secret = self._key.check(merged.api)
        except DriftlineError as error:
            _log.error("settings.kept", error=str(error), fix=error.fix)
            return
        except Exception:
            _log.exception("settings.kept")
            return
        changed = changes(self._config, new)
        taken = [key for key in changed if is_live(key)]
        self._config = merged
        self._key.take(secret)
        set_log_level(self._config.log.level)
        self._daemon.take_settings(
            daemon_settings(self._config), update_settings(self._config), self._config.sampling
        )
        waiting = [key for key in changed if not is_live(key)]
        _log.info("settings.taken", keys=taken)
        if waiting:
            _log.warning("settings.wait", keys=waiting, fix="These hold from the next start on.")


def is_live(key: str) -> bool:
    """Whether the setting `key` (dotted) can change while the daemon runs."""
    return key in LIVE or key.partition(".")[0] in LIVE


def with_live(old: DeviceConfig, new: DeviceConfig) -> DeviceConfig:
    """`old` with those settings of `new` that a running daemon takes up."""
    whole = {key: getattr(new, key) for key in LIVE if "." not in key}
    log = old.log.model_copy(update={"level": new.log.level})
    token = {"token": new.api.token, "token_file": new.api.token_file}
    api = old.api.model_copy(update=token)
    return old.model_copy(update={**whole, "log": log, "api": api})


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
