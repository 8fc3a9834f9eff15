"""The keys in force; other settings may bring others while the API serves."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from driftline_device.api.holders import Holder, Holders, Limits, open_to_others
from driftline_device.api.settings import ApiConfig
from driftline_shared.errors import ConfigError

_log = structlog.get_logger(__name__)


class Key:
    """What opens the API: a token, keys with scopes, or nothing where it asks for none."""

    def __init__(
        self, config: ApiConfig, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ConfigError if a file cannot be read."""
        self._holders = _holders(config)
        self._limits = Limits(monotonic_s)

    @property
    def is_needed(self) -> bool:
        """Whether a token is asked for."""
        return bool(self._holders)

    def find(self, token: str) -> Holder | None:
        """Who holds `token`."""
        return self._holders.find(token)

    def wait_s(self, holder: Holder) -> float:
        """Take a request of `holder`; 0.0 if it may pass, else the seconds until one may."""
        return self._limits.take(holder)

    def check(self, config: ApiConfig) -> Holders:
        """The keys of `config`, for `take`.

        Raises ConfigError if they cannot be read, or if they would open what is closed.
        """
        holders = _holders(config)
        if self._holders and not holders:
            raise ConfigError("api.token: to ask for no token any more takes a restart")
        return holders

    def take(self, holders: Holders) -> bool:
        """From the next request on; whether they are others than before."""
        before, self._holders = self._holders, holders
        return before != holders


def _holders(config: ApiConfig) -> Holders:
    if not config.port:
        return Holders({})
    holders = config.holders()
    for setting, path in config.secret_files().items():
        if why := open_to_others(path):
            fix = f"chmod 600 {path}, and give out other tokens if others have looked."
            _log.warning("api.secrets_open", setting=setting, path=str(path), cause=why, fix=fix)
    return holders
