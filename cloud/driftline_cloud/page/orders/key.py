"""The key of the pages: whoever can read its file may give orders in a browser."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import error_text, sync_folder

NAME = "page.key"
_MOST_BYTES = 256


def page_key(state: Path) -> str:
    """The key in `<state>/page.key`, which is made (mode 600) where there is none; ConfigError."""
    path = state / NAME
    try:
        key = _read(path)
        if not key:  # none, or what a kill left of one
            _make(path)
            key = _read(path)
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


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(_MOST_BYTES).strip()
    except FileNotFoundError:
        return ""


def _make(path: Path) -> None:
    """Whole or not at all; of two that make one at once both go by the same."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_urlsafe(24)}\n")
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            draft.replace(path)
            return
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return
        except OSError:
            draft.replace(path)  # a file system without hard links
    finally:
        draft.unlink(missing_ok=True)
        sync_folder(path.parent)
