"""The run folder: written as a whole, read with checks.

run.json        what it was; written last, so a folder without it is no run
metrics.json    canonical: byte-identical for equal runs
timings.json    what a clock decided
timeline.jsonl  one line an answer
pictures/       pictures.jsonl and the picture files it names; may be missing
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from driftline_lab.runs.canonical import from_bytes, to_bytes
from driftline_lab.runs.run import SCHEMA, Metrics, Picture, RunInfo, TimelineRow, Timings
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.host.durable import make_folder, sync_folder, write_atomic

INFO, METRICS, TIMINGS, TIMELINE = "run.json", "metrics.json", "timings.json", "timeline.jsonl"
PICTURES = "pictures"
PICTURE_INDEX = "pictures.jsonl"

MAX_DOCUMENT_BYTES = 16 << 20
MAX_LINE_BYTES = 64 << 10
MAX_PICTURE_BYTES = 4 << 20
MAX_PICTURES = 256
MAX_CELLS = 1 << 14
"""Most places of a picture's grid: the largest of our pairs have hundreds."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")

_PICTURE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run folder that was read; its timeline is read as it is asked for."""

    folder: Path
    info: RunInfo
    metrics: Metrics
    timings: Timings
    pictures: tuple[Picture, ...]

    def timeline(self) -> Iterator[TimelineRow]:
        """The answers in turn; DataError naming file and line for one that is wrong."""
        for number, row in enumerate(_lines(self.folder / TIMELINE, TimelineRow), start=1):
            if row.n != number:
                raise DataError(f"{self.folder / TIMELINE}, line {number}: n is {row.n}")
            yield row

    def picture_bytes(self, picture: Picture) -> bytes:
        """The bytes of a picture's file, at most `MAX_PICTURE_BYTES`.

        DataError for what is no PNG or JPEG and for a link: a page that is passed on would hold
        the file it leads to.
        """
        path = self.folder / PICTURES / picture.file
        if path.is_symlink() or path.parent.is_symlink():
            raise DataError(f"{path} is a link: put the picture itself there")
        data = _read(path, MAX_PICTURE_BYTES)
        if not data.startswith(_PICTURE_STARTS):
            raise DataError(f"{path} is neither a PNG nor a JPEG")
        return data


def need_run_folder(folder: Path) -> None:
    """Make `folder` if need be: who works long for a run asks first whether it can be kept.

    ConfigError if it cannot be written to.
    """
    probe = folder / f".{INFO}.new"
    try:
        make_folder(folder)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"folder {folder} cannot be written: {error.strerror}; name another with --out"
        ) from error


def need_new_run_folder(folder: Path) -> None:
    """As `need_run_folder`, for a run of its own: nothing of an earlier one stays beside it.

    ConfigError if `folder` holds anything, or cannot be written to.
    """
    if folder.is_dir() and any(folder.iterdir()):
        what = "another run" if (folder / INFO).is_file() else "something"
        raise ConfigError(f"{folder} holds {what} already: give a new or an empty folder")
    need_run_folder(folder)


def write_run(
    folder: Path,
    info: RunInfo,
    metrics: Metrics,
    timings: Timings,
    timeline: Iterable[TimelineRow],
    pictures: Mapping[Picture, bytes] | None = None,
) -> None:
    """Write a run into `folder`, in place of one that is there; other files in it stay.

    `timeline` is read once, row by row. `pictures`: each with the bytes of its PNG or JPEG file.
    Raises DataError for a value that the reader would refuse, before the run counts as one, and
    ConfigError for a folder that cannot be written.
    """
    need_run_folder(folder)
    try:
        (folder / INFO).unlink(missing_ok=True)
        for name, value in ((METRICS, metrics), (TIMINGS, timings)):
            write_atomic(folder / name, to_bytes(value))
        _write_timeline(folder / TIMELINE, timeline)
        _write_pictures(folder / PICTURES, pictures or {})
        write_atomic(folder / INFO, to_bytes(info))
    except OSError as error:
        raise ConfigError(
            f"run folder {folder} cannot be written: {error.strerror}; it holds no whole run now"
        ) from error


def read_run(folder: Path) -> Run:
    """The run in `folder`; DataError naming the file and field of the first thing that is wrong."""
    if not (folder / INFO).is_file():
        raise DataError(
            f"{folder} is no run folder: it holds no {INFO}",
            fix="Name a folder that --out of `driftline demo` or `driftline lab replay` wrote.",
        )
    data = _read(folder / INFO, MAX_DOCUMENT_BYTES)
    _check_schema(folder / INFO, data)
    metrics = _document(folder / METRICS, Metrics)
    if metrics.uplink.sent > metrics.uplink.seen:
        raise DataError(
            f"{folder / METRICS}: uplink.sent: {metrics.uplink.sent} samples of "
            f"{metrics.uplink.seen} answers"
        )
    return Run(
        folder=folder,
        info=from_bytes(data, RunInfo, place=str(folder / INFO)),
        metrics=metrics,
        timings=_document(folder / TIMINGS, Timings),
        pictures=_read_pictures(folder / PICTURES),
    )


def _read_pictures(folder: Path) -> tuple[Picture, ...]:
    """What the index in `folder` names. DataError for a link on the way, for the same reason as
    `picture_bytes`.
    """
    index = folder / PICTURE_INDEX
    for path in (folder, index):
        if path.is_symlink():
            raise DataError(f"{path} is a link: put what it leads to there")
    if not index.is_file():
        return ()
    pictures = tuple(islice(_lines(index, Picture), MAX_PICTURES + 1))
    _check_pictures(index, pictures)
    return pictures


def _write_timeline(path: Path, rows: Iterable[TimelineRow]) -> None:
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as file:
        for number, row in enumerate(rows, start=1):
            if row.n != number:
                raise DataError(f"row {number} of the timeline has n = {row.n}")
            file.write(to_bytes(row, indent=None))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def _write_pictures(folder: Path, pictures: Mapping[Picture, bytes]) -> None:
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    if not pictures:
        return
    index = folder / PICTURE_INDEX
    _check_pictures(index, tuple(pictures))
    for picture, data in pictures.items():
        if len(data) > MAX_PICTURE_BYTES:
            raise DataError(f"picture {picture.file} has more than {MAX_PICTURE_BYTES} bytes")
        if not data.startswith(_PICTURE_STARTS):
            raise DataError(f"picture {picture.file} is neither a PNG nor a JPEG")
        write_atomic(folder / picture.file, data, durable=False)
    write_atomic(index, b"".join(to_bytes(each, indent=None) for each in pictures))


def _check_pictures(index: Path, pictures: tuple[Picture, ...]) -> None:
    if len(pictures) > MAX_PICTURES:
        raise DataError(f"{index}: more than {MAX_PICTURES} pictures")
    for number, each in enumerate(pictures, start=1):
        place = f"{index}, line {number}"
        if not _FILE_NAME.fullmatch(each.file) or each.file == PICTURE_INDEX:
            raise DataError(f"{place}: file: {each.file!r} is no plain file name")
        if each.rows < 1 or each.cols < 1:
            raise DataError(f"{place}: rows, cols: the grid is empty")
        if each.rows * each.cols > MAX_CELLS:
            raise DataError(f"{place}: rows, cols: the grid has more than {MAX_CELLS} places")
        if any(not 0 <= place_ < each.rows * each.cols for place_ in each.kept):
            raise DataError(f"{place}: kept: a position outside {each.rows} x {each.cols}")


def _check_schema(path: Path, data: bytes) -> None:
    """A newer schema is named as such, whatever else it may hold."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise DataError(
            f"{path}: schema: {schema} is of a newer driftline; this one reads up to {SCHEMA}",
            fix="Update driftline.",
        )


def _document(path: Path, kind: type[T]) -> T:
    return from_bytes(_read(path, MAX_DOCUMENT_BYTES), kind, place=str(path))


def _lines(path: Path, kind: type[T]) -> Iterator[T]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            place = f"{path}, line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"{place}: longer than {MAX_LINE_BYTES} bytes")
            if not line.endswith(b"\n"):
                raise DataError(f"{place}: cut off")
            yield from_bytes(line, kind, place=place)


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise DataError(f"{path} is larger than {most} bytes")
    return data
