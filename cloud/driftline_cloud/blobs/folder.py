"""Blobs as files: the key is the path below a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from driftline_cloud.blobs.store import MOST_BYTES, BlobDamagedError, check_key, too_large
from driftline_shared.host.durable import read_bytes, write_atomic


@dataclass(frozen=True, slots=True)
class FolderStore:
    """Files below `folder`, each replaced by a rename; names with a dot in front are drafts.

    A file has no checksum of its own: what is not named or described by its digest is as good as
    the disk.
    """

    folder: Path

    @property
    def place(self) -> str:
        """See `BlobStore`."""
        return str(self.folder)

    def put(self, key: str, content: bytes) -> None:
        """See `BlobStore`."""
        write_atomic(self.path(key), content)

    def get(self, key: str, most_bytes: int = MOST_BYTES, *, sha256: bytes = b"") -> bytes | None:
        """See `BlobStore`."""
        path = self.path(key)
        try:
            if path.stat().st_size > most_bytes:
                raise too_large(key, most_bytes)
            content = read_bytes(path, most_bytes)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise BlobDamagedError(str(error)) from error
        if content is not None and sha256 and hashlib.sha256(content).digest() != sha256:
            raise BlobDamagedError(f"{key} in {self.place} is damaged: its digest is another")
        return content

    def read(self, key: str, offset: int, num_bytes: int) -> bytes | None:
        """See `BlobStore`."""
        try:
            with self.path(key).open("rb") as file:
                file.seek(offset)
                return file.read(num_bytes)
        except FileNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        """See `BlobStore`."""
        try:
            return self.path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, folder: str = "") -> list[str]:
        """See `BlobStore`."""
        return sorted(_below(self.folder / check_key(folder) if folder else self.folder, folder))

    def delete(self, key: str) -> None:
        """See `BlobStore`; folders that become empty go, too."""
        path = self.path(key)
        path.unlink(missing_ok=True)
        path.with_name(f".{path.name}.new").unlink(missing_ok=True)  # the draft of a kill
        with suppress(OSError):
            while (path := path.parent) != self.folder:
                path.rmdir()

    def within(self, folder: str) -> FolderStore:
        """See `BlobStore`."""
        return FolderStore(self.path(folder))

    def path(self, key: str) -> Path:
        """Where the blob lies."""
        return self.folder / check_key(key)


def _below(path: Path, key: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        inner = f"{key}/{entry.name}" if key else entry.name
        if entry.is_dir():
            yield from _below(path / entry.name, inner)
        else:
            yield inner
