"""Files that are whole or absent, whatever is killed when."""

from __future__ import annotations

import os
from pathlib import Path

DRAFT = ".part"


def write_durably(path: Path, content: bytes) -> None:
    """Put `content` at `path`: draft beside it, sync, rename, sync the folder."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent.parent)
    draft = path.with_name(path.name + DRAFT)
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def remove_drafts(folder: Path) -> int:
    """Remove what a kill left behind under `folder`; how many there were."""
    drafts = list(folder.rglob("*" + DRAFT))
    for draft in drafts:
        draft.unlink(missing_ok=True)
    return len(drafts)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
