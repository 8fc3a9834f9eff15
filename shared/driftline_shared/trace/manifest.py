"""`manifest.json`: what a trace is of, and what its parts are. Needs no pyarrow.

Written whole and at once; a part that it does not name does not belong to the trace. `digest` is
the hex sha256 of all other keys as canonical JSON, so that a changed manifest is noticed.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic.dataclasses import dataclass

from driftline_shared.errors import ConfigError, DataError
from driftline_shared.host.durable import read_json, write_json
from driftline_shared.trace.columns import SCHEMA

FILE = "manifest.json"
EVENTS = "events"
JOURNAL = "open.arrows"

Recorder = Literal["device", "cloud", "lab"]

_STORED = ConfigDict(extra="forbid", strict=True)


@with_config(_STORED)
@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What a trace is of; who appends to it must be of the same.

    `pair`: its name; `base_model`, `token_space`: hex digests; `token_width`: values of a token.
    `recorder`: who writes. `source`: what was read (camera, file; without secrets), empty where
    the recorder does not know.
    """

    pair: str
    base_model: str
    token_space: str
    token_width: int
    recorder: Recorder
    source: str = ""


@with_config(_STORED)
@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One file of `events/`: hex sha256 and size of the file, its rows, its sequence numbers."""

    name: str
    sha256: str
    bytes: int
    rows: int
    first_sequence: int
    last_sequence: int


@with_config(_STORED)
@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The manifest of one trace. `software`: package -> version, of whoever began it.

    `derived`: what made it out of other traces (`cut`, `merge`, `anonymize`), with what.
    """

    schema: int = SCHEMA
    subject: Subject
    seed: int | None = None
    licence: str = ""
    created_unix_s: float
    software: dict[str, str]
    derived: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def last_sequence(self) -> int:
        """Of the newest event in a part; -1 where there is none."""
        return self.parts[-1].last_sequence if self.parts else -1

    @property
    def num_rows(self) -> int:
        """Events in all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def next_part(self) -> str:
        """The name of the part to come."""
        number = int(self.parts[-1].name[5:11]) + 1 if self.parts else 0
        return f"part-{number:06d}.parquet"

    def with_part(self, part: Part) -> Manifest:
        """The manifest with one part more."""
        return replace(self, parts=(*self.parts, part))


_KIND: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def software() -> dict[str, str]:
    """Versions of what writes a trace here."""
    found = {"python": platform.python_version()}
    for package in ("driftline", "numpy", "pyarrow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_subject(folder: Path, ours: Subject, theirs: Subject) -> None:
    """ConfigError naming what differs, if `theirs` may not be appended to the trace of `ours`."""
    for key, word in _SUBJECT_WORDS.items():
        here, there = getattr(ours, key), getattr(theirs, key)
        if here != there:
            raise ConfigError(
                f"trace {folder} is of {word} {here!r}, not {there!r}: give another folder"
            )


_SUBJECT_WORDS = {
    "pair": "pair",
    "base_model": "base model",
    "token_space": "token space",
    "token_width": "token width",
    "recorder": "recorder",
    "source": "source",
}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of the trace in `folder`, durably."""
    body = json.loads(_KIND.dump_json(manifest))
    write_json(folder / FILE, {**body, "digest": _digest(body)})


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`; None if there is none. DataError if it is not what was written."""
    if (folder / FILE).exists() and not (folder / FILE).is_file():
        raise DataError(f"{folder / FILE} is no file: a trace's manifest is one")
    try:
        found = read_json(folder / FILE)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / FILE} cannot be read: {error}") from error
    if found is None:
        return None
    schema = found.get("schema")
    if type(schema) is not int or schema < 1:
        raise DataError(f"{folder / FILE}: schema is {schema!r}, not a whole number from 1 on")
    if schema > SCHEMA:
        raise DataError(
            f"{folder / FILE} has schema {schema}, this driftline reads up to {SCHEMA}",
            fix="Update driftline.",
        )
    digest = found.pop("digest", None)
    if digest != _digest(found):
        raise DataError(
            f"{folder / FILE} was changed: its digest is not that of its content",
            fix="Put a whole copy of the manifest there.",
        )
    try:
        manifest = _KIND.validate_json(json.dumps(found))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{folder / FILE}: {where}: {first['msg']}") from error
    _check_parts(folder, manifest)
    return manifest


def need_manifest(folder: Path) -> Manifest:
    """The manifest in `folder`. DataError if it is no trace."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(
            f"{folder} is no trace: it holds no {FILE}",
            fix="Name one that a device or a cloud with --trace, or `driftline lab trace`, wrote.",
        )
    return manifest


def as_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON values."""
    return asdict(manifest)


def _digest(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_parts(folder: Path, manifest: Manifest) -> None:
    """Names and sequence numbers rise; nothing of a name leads elsewhere."""
    last_name, last_sequence = "", -1
    for part in manifest.parts:
        number = part.name.removeprefix("part-").removesuffix(".parquet")
        if part.name != f"part-{number}.parquet" or not (len(number) == 6 and number.isdecimal()):
            raise DataError(f"{folder / FILE}: {part.name!r} is no part's name")
        rising = last_name < part.name and last_sequence < part.first_sequence
        if not rising or part.last_sequence - part.first_sequence + 1 < part.rows or part.rows < 1:
            raise DataError(f"{folder / FILE}: {part.name} does not follow the part before it")
        last_name, last_sequence = part.name, part.last_sequence
