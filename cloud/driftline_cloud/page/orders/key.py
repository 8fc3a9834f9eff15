"""The key of the pages: whoever can read its file may give orders in a browser."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import error_text

NAME = "page.key"
_MOST_BYTES = 256


def page_key(state: Path) -> str:
    """The key in `<state>/page.key`, which is made (mode 600) where there is none; ConfigError."""
    path = state / NAME
    try:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            with path.open(encoding="ascii", errors="replace") as file:
                key = file.read(_MOST_BYTES).strip()
        else:
            key = secrets.token_urlsafe(24)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{key}\n")
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(
            f"the pages' key {path} cannot be read or made: {error_text(error)}",
            fix="Run this as the cloud's user, or set page.orders = false.",
        ) from error
    if len(key) < 16:
        raise ConfigError(
            f"the pages' key in {path} is shorter than 16 characters",
            fix="Remove the file: the next start makes another.",
        )
    return key
