"""The metadata of a cloud on disk, and how long each role's holds.

    <state>/trust/updates/root/<N>.json      every root there was: devices follow the chain
                          targets.json       delegates to one role a line
                          lines/<line>.json  the last three versions of a line
                          snapshot.json, timestamp.json
                          keys/              of targets, snapshot, timestamp and keys/lines/<line>;
                                             *.key.next until a root names them (`whole.py`);
                                             root.coming: id of a root key while it is replaced
    <state>/trust/offline/root-<n>.key       2 of 3 sign a root; they go offline, to three places

A file is replaced atomically; timestamp.json is written last and makes what was written before it
public, so a kill leaves what was public before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from driftline_cloud.trust.authority import FOLDER
from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import read_bytes, write_atomic
from driftline_shared.signing.bundle import MAX_METADATA_BYTES
from driftline_shared.signing.versions import role_of

UPDATES, OFFLINE = "updates", "offline"
ONLINE_ROLES = (Targets.type, Snapshot.type, Timestamp.type)
ROOT_KEYS, ROOT_THRESHOLD = 3, 2
ROOT_DAYS = 730
ROLE_DAYS = {Targets.type: 180, Snapshot.type: 180, Root.type: ROOT_DAYS}
"""Of what is signed by itself in time; a timestamp's is a setting, in hours."""

_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_LINE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_FIX = "Bring `trust/updates` back from a backup; `driftline cloud keys show` says what is there."


@dataclass(frozen=True, slots=True)
class SigningFiles:
    """Where a cloud's metadata and keys are; `state`: its folder."""

    state: Path

    @property
    def folder(self) -> Path:
        return self.state / FOLDER / UPDATES

    @property
    def offline(self) -> Path:
        """Where root keys are made; they are moved from there."""
        return self.state / FOLDER / OFFLINE

    @property
    def lock(self) -> Path:
        """The turn to change anything here."""
        return self.folder / "lock"

    def root(self, version: int) -> Path:
        return self.folder / "root" / f"{version}.json"

    def role(self, name: str) -> Path:
        """The file of an online role."""
        return self.folder / f"{name}.json"

    def line(self, line: str) -> Path:
        return self.folder / "lines" / f"{line}.json"

    def key(self, role: str) -> Path:
        return self.folder / "keys" / f"{role}.key"

    def next_key(self, role: str) -> Path:
        """Of a key that the root to come names."""
        return self.folder / "keys" / f"{role}.key.next"

    @property
    def coming(self) -> Path:
        """The id of the root key that is being written outside, while it is."""
        return self.folder / "keys" / "root.coming"

    def line_key(self, line: str) -> Path:
        return self.folder / "keys" / "lines" / f"{line}.key"

    def root_key(self, number: int) -> Path:
        return self.offline / f"root-{number}.key"

    def newest_root(self) -> int:
        """The number of the root in force; 0: there is none. ConfigError where one before it is
        missing. What is not numbered in one row from 1 on, and is no such root, is none.
        """
        numbers = {
            int(path.stem)
            for path in (self.folder / "root").glob("*.json")
            if _NUMBER.fullmatch(path.stem)
        }
        newest = 0
        while newest + 1 in numbers:
            newest += 1
        for number in sorted(numbers):
            if number > newest and version_in(self.root(number), Root.type) == number:
                raise ConfigError(
                    f"{self.root(newest + 1)} is missing, and {number}.json is there", fix=_FIX
                )
        return newest

    def lines(self) -> list[str]:
        """Lines that have metadata, and that targets delegates to, signatures unchecked. Who serves
        signs any other that the cloud has as a new one.
        """
        delegated = self._delegated()
        paths = self.line_files() if delegated else []
        return [path.stem for path in paths if role_of(path.stem) in delegated]

    def line_files(self) -> list[Path]:
        """What reads as the metadata of a line, whoever put it here."""
        return sorted(path for path in (self.folder / "lines").glob("*.json") if _is_line(path))

    def _delegated(self) -> frozenset[str]:
        try:
            signed = read_metadata(self.role(Targets.type))[0].signed
        except ConfigError:
            return frozenset()
        found = signed.delegations if signed.type == Targets.type else None
        return frozenset(found.roles or ()) if found is not None else frozenset()

    def strays(self) -> list[Path]:
        """What lies among roots and lines and is neither, but for drafts. ConfigError as of
        `newest_root`.
        """
        ours = {self.root(number) for number in range(1, self.newest_root() + 1)}
        ours |= {self.line(line) for line in self.lines()}
        folders = [one for one in (self.folder / "root", self.folder / "lines") if one.is_dir()]
        found = {path for folder in folders for path in folder.iterdir()} - ours
        return sorted(path for path in found if not path.name.startswith("."))

    def root_keys_here(self) -> list[Path]:
        """Root keys that have not gone offline yet."""
        return sorted(self.offline.glob("*.key"))


def has_signing(state: Path) -> bool:
    """Whether the cloud in `state` signs its updates, also where its files are not whole."""
    files = SigningFiles(state)
    numbered = [path for path in (files.folder / "root").glob("*.json") if path.stem.isdecimal()]
    return bool(numbered) or any(files.role(name).exists() for name in ONLINE_ROLES)


def read_metadata(path: Path) -> tuple[Metadata[Any], bytes]:
    """(metadata, its bytes) in `path`, signatures unchecked; ConfigError where it is not whole."""
    try:
        data = read_bytes(path, MAX_METADATA_BYTES)
        if data is None:
            raise ConfigError(f"the metadata {path} is missing", fix=_FIX)
        return Metadata.from_bytes(data), data
    except (OSError, ValueError, RepositoryError) as error:
        raise ConfigError(f"the metadata {path} cannot be read: {error}", fix=_FIX) from error


def version_in(path: Path, kind: str = "") -> int:
    """The version of the metadata in `path`; 0: there is none (`kind`: of that kind)."""
    try:
        signed = read_metadata(path)[0].signed
    except ConfigError:
        return 0
    return int(signed.version) if kind in ("", signed.type) else 0


def write_metadata(path: Path, metadata: Metadata[Any]) -> bytes:
    """Keep `metadata` in `path` durably; its bytes. OSError."""
    data = metadata.to_bytes(JSONSerializer(compact=True))
    if len(data) > MAX_METADATA_BYTES:
        raise ConfigError(
            f"{path.name} would have {len(data)} bytes, more than devices read",
            fix="Drop lines that are not used any more: `driftline cloud line drop`.",
        )
    write_atomic(path, data)
    return data


def expiry(now_s: float, *, days: float) -> datetime:
    """So many days from now, in whole seconds."""
    return datetime.fromtimestamp(int(now_s), UTC) + timedelta(seconds=int(days * 86_400))


def _is_line(path: Path) -> bool:
    return bool(_LINE.fullmatch(path.stem)) and version_in(path, Targets.type) > 0
