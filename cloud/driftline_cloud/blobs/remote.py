"""Blobs in an object store by an fsspec URL: `s3://bucket/prefix`, `memory://name` in tests.

    <prefix>/owner      the id of the one cloud that keeps its blobs here
    <prefix>/<key>      FIRST_LINE, the sha256 of the content in hex, a newline, the content

Such a store shows an object when it is whole, in place of what was there. fsspec and its driver
are imported at the first call. Keys and endpoints come from what the driver itself reads: for S3
the usual AWS_* variables.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from driftline_cloud.blobs.store import (
    MOST_BYTES,
    BlobDamagedError,
    StoreAwayError,
    check_key,
    too_large,
)
from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.program.extras import needs_extra

FIRST_LINE = b"driftline blob 1\n"
OWNER = "owner"

_HEAD_BYTES = len(FIRST_LINE) + 65
_FIX = (
    "Look at storage.artifacts, at the store and at the credentials in the environment (for S3 "
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL); what waits goes on by itself."
)

_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "use_listings_cache": False,
        "skip_instance_cache": True,
        "default_fill_cache": False,
        # Who waits for it waits on: a store that is away is to be seen soon.
        "config_kwargs": {
            "connect_timeout": 3,
            "read_timeout": 20,
            "retries": {"max_attempts": 1},
        },
    }
}
_S3_TRIES = 2


@dataclass(slots=True)
class _Connection:
    """One driver for a store and all that is seen within it."""

    url: str
    owner: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    opened: tuple[Any, str] | None = None

    def open(self) -> tuple[Any, str]:
        """(file system, path of the root), once the store is known to be ours. Raises ConfigError
        where it is another cloud's.
        """
        with self.lock:
            if self.opened is None:
                files, root = self._connected()
                self._check_owner(files, f"{root}/{OWNER}")
                self.opened = files, root
            return self.opened

    def _connected(self) -> tuple[Any, str]:
        scheme = self.url.partition("://")[0]
        with needs_extra(f"storage.artifacts = {self.url}", "s3"):
            import fsspec

            try:
                files, root = fsspec.core.url_to_fs(self.url, **_OPTIONS.get(scheme, {}))
            except ImportError as error:
                # fsspec says in words what its driver for the scheme lacks.
                raise ModuleNotFoundError(str(error), name=f"a driver of {scheme}") from error
        if scheme == "s3":
            files.retries = _S3_TRIES
        return files, root.rstrip("/")

    def _check_owner(self, files: Any, path: str) -> None:
        if not self.owner:
            return
        try:
            found = _opened(files.cat_file(path), OWNER)
        except FileNotFoundError:
            files.pipe_file(path, _sealed(self.owner.encode()))
            found = _opened(files.cat_file(path), OWNER)  # another may have been first
        if found != self.owner.encode():
            other = found[:12].decode(errors="replace")
            raise ConfigError(
                f"{self.url} keeps the blobs of another cloud: {other}",
                fix="Set storage.artifacts to a prefix of this cloud's own.",
            )


@dataclass(frozen=True, slots=True)
class RemoteStore:
    """Objects below a URL. `connection`: shared by all that is within; see `open_remote`."""

    connection: _Connection
    prefix: str = ""

    @property
    def place(self) -> str:
        """See `BlobStore`."""
        return f"{self.connection.url}/{self.prefix}".rstrip("/")

    def put(self, key: str, content: bytes) -> None:
        """See `BlobStore`."""
        try:
            with self._at(key) as (files, path):
                files.pipe_file(path, _sealed(content))
        except FileNotFoundError as error:
            raise self._away(error) from error

    def get(self, key: str, most_bytes: int = MOST_BYTES, *, sha256: bytes = b"") -> bytes | None:
        """See `BlobStore`; the digest that stands before the content is looked at always."""
        try:
            with self._at(key) as (files, path):
                found = files.cat_file(path, start=0, end=_HEAD_BYTES + most_bytes + 1)
        except FileNotFoundError:
            return None
        if len(found) > _HEAD_BYTES + most_bytes:
            raise too_large(key, most_bytes)
        content = _opened(found, f"{key} in {self.place}")
        if sha256 and hashlib.sha256(content).digest() != sha256:
            raise BlobDamagedError(f"{key} in {self.place} has other bytes than expected")
        return content

    def read(self, key: str, offset: int, num_bytes: int) -> bytes | None:
        """See `BlobStore`."""
        size = self.size(key)
        if size is None or offset >= size or num_bytes <= 0:
            return None if size is None else b""
        start = _HEAD_BYTES + offset
        try:
            with self._at(key) as (files, path):
                return bytes(files.cat_file(path, start=start, end=start + num_bytes))
        except FileNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        """See `BlobStore`."""
        try:
            with self._at(key) as (files, path):
                return max(0, int(files.info(path)["size"]) - _HEAD_BYTES)
        except FileNotFoundError:
            return None

    def list(self, folder: str = "") -> list[str]:
        """See `BlobStore`."""
        with self._at(folder) as (files, path):
            try:
                paths = files.find(path)
            except FileNotFoundError:
                return []
            root = self._path(self.connection.open()[1], "")
        keys = (one.removeprefix(root).lstrip("/") for one in paths)
        return sorted(one for one in keys if self.prefix or one != OWNER)

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        try:
            with self._at(key) as (files, path):
                files.rm_file(path)
        except FileNotFoundError:
            return

    def within(self, folder: str) -> RemoteStore:
        """See `BlobStore`."""
        inner = check_key(folder)
        return RemoteStore(self.connection, f"{self.prefix}/{inner}" if self.prefix else inner)

    @contextmanager
    def _at(self, key: str) -> Iterator[tuple[Any, str]]:
        """The file system and the path of `key` (empty: all); what goes wrong is in our words."""
        if key:
            check_key(key)
        is_open = False
        try:
            files, root = self.connection.open()
            is_open = True
            yield files, self._path(root, key)
        except DriftlineError:
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError) and is_open:
                raise  # of the blob; before, it is the bucket that is not there
            # Drivers raise what they like: OSError, errors of HTTP clients, of credentials.
            if not _is_of_the_store(error):
                raise
            raise self._away(error) from error

    def _away(self, error: Exception) -> StoreAwayError:
        cause = f"{type(error).__name__}: {error}".strip()[:300]
        return StoreAwayError(f"the artifact store {self.place} is away: {cause}", fix=_FIX)

    def _path(self, root: str, key: str) -> str:
        return "/".join(filter(None, (root, self.prefix, key)))


def open_remote(url: str, *, owner: str = "") -> RemoteStore:
    """The store at `url`, of the cloud `owner` alone (empty: whoever's). Nothing is asked of it
    yet: the first call claims a store that is nobody's; ConfigError for one of another cloud,
    MissingPackageError where the driver is not installed.
    """
    return RemoteStore(_Connection(url.rstrip("/"), owner))


def _is_of_the_store(error: Exception) -> bool:
    if isinstance(error, OSError | asyncio.TimeoutError | TimeoutError):
        return True
    return type(error).__module__.partition(".")[0] in {
        "aiohttp", "aiobotocore", "azure", "botocore", "fsspec", "gcsfs", "google", "s3fs", "adlfs",
    }  # fmt: skip


def _sealed(content: bytes) -> bytes:
    return b"%s%s\n%s" % (FIRST_LINE, hashlib.sha256(content).hexdigest().encode(), content)


def _opened(found: bytes, name: str) -> bytes:
    content = found[_HEAD_BYTES:]
    if not found.startswith(FIRST_LINE):
        raise BlobDamagedError(f"{name} is no blob of ours, or cut off")
    if hashlib.sha256(content).hexdigest().encode() != found[len(FIRST_LINE) : _HEAD_BYTES - 1]:
        raise BlobDamagedError(f"{name} is damaged: its digest is another")
    return bytes(content)
