"""Where Ray keeps its sessions, and how much memory it shares: a socket's path is short."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence

from driftline_shared.errors import ConfigError

OBJECT_STORE_BYTES = 256 << 20
"""Shared memory of a node; Ray spills to disk beyond it."""

MOST_FOLDER_BYTES = 36
"""Of the path that holds Ray's sessions: a socket's has at most 107, and its folders in there have
up to 70 (`ray/session_DATE_TIME_PID/sockets/plasma_store`)."""

SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
"""Where to look for a short one."""


def session_folder(
    environment: Mapping[str, str] = os.environ, others: Sequence[str] = SHORT_FOLDERS
) -> str | None:
    """The folder for Ray's sessions, where its own choice is too long for their sockets; None: its
    own will do.

    Batch systems give a long TMPDIR. Raises ConfigError that names it where nothing short is
    writable.
    """
    own = environment.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(own)) <= MOST_FOLDER_BYTES:
        return None
    for folder in others:
        if os.access(folder, os.W_OK | os.X_OK):
            # Of this user alone: another one's would be there already, and closed.
            return f"{folder}/ray-{os.getuid()}"
    raise ConfigError(
        f"the temporary folder {own} is too long for Ray's sockets ({MOST_FOLDER_BYTES} bytes)",
        fix="Set RAY_TMPDIR to a short folder that can be written.",
    )
