"""The keys of the pages: whoever can read a file of them may do in a browser what its role may."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from driftline_cloud.trust.issuer import Role
from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import error_text, sync_folder

NAMES = {Role.OPERATOR: "page.key", Role.READER: "page-reader.key"}
"""The file of each role's key: an operator looks and gives orders, a reader looks."""

_MOST_BYTES = 256


def page_keys(state: Path) -> dict[Role, str]:
    """The keys in the state folder; one that is not there is made (mode 600). ConfigError for one
    that cannot be had, or that is two roles' at once.
    """
    keys = {role: _page_key(state / name) for role, name in NAMES.items()}
    if len({*keys.values()}) < len(keys):
        raise ConfigError(
            f"the pages' keys in {state} are one and the same: whoever may look could give orders",
            fix=f"Remove {NAMES[Role.READER]} there: the next start makes another.",
        )
    return keys


def _page_key(path: Path) -> str:
    try:
        key = _read(path)
        if not key:  # none, or what a kill left of one
            _make(path)
            key = _read(path)
    except OSError as error:
        raise ConfigError(
            f"the pages' key {path} cannot be read or made: {error_text(error)}",
            fix="Run this as the cloud's user, or set page.orders and page.private to false.",
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
