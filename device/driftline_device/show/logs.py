"""Read the daemon's log file and its rotated predecessors: the newest lines, then what comes.

A line is one JSON object; a line that is none (cut by a power loss) is shown as it stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from driftline_shared.host.clock import Clock
from driftline_shared.program.logs import LEVELS, console_renderer

POLL_S = 0.2
"""How often a followed file is looked at."""

MAX_LINE_BYTES = 1 << 20
"""Longer lines are cut: no line of ours comes near."""


def end_of(path: Path) -> int:
    """Bytes in `path` now; 0 if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def newest_lines(path: Path, *, end: int, keep: int, num: int, level: str) -> list[str]:
    """The newest `num` lines of at least `level`, oldest first, from the first `end` bytes of
    `path` and from its `keep` older files, which are only read where the newer hold too few.
    """
    found: list[str] = []
    older = (path.with_name(f"{path.name}.{number}") for number in range(1, keep + 1))
    for each in (path, *older):
        if len(found) >= num:
            break
        try:
            with each.open("rb") as file:
                most = end if each == path else end_of(each)
                lines = [line for line in _lines(file, most) if is_at_least(line, level)]
        except FileNotFoundError:
            continue
        found = lines + found
    return found[-num:] if num else []


def follow(path: Path, *, start: int, level: str, clock: Clock) -> Iterator[str]:
    """Lines of at least `level` from byte `start` of `path` on, over any rotation; never ends."""
    file, rest = _open(path, start), b""
    try:
        while True:
            data = file.read(MAX_LINE_BYTES) if file is not None else b""
            if data:
                *lines, rest = (rest + data).split(b"\n")
                yield from (text for text in map(_text, lines) if is_at_least(text, level))
                rest = rest[-MAX_LINE_BYTES:]
                continue
            if file is None or _was_rotated(path, file):
                if file is not None:
                    file.close()
                file, rest = _open(path, 0), b""
                if file is not None:
                    continue
            clock.sleep(POLL_S)
    finally:
        if file is not None:
            file.close()


def is_at_least(line: str, level: str) -> bool:
    """Whether the event in `line` is at least as grave as `level`; a line that is no event is."""
    found = (_event(line) or {}).get("level")
    return found not in LEVELS or LEVELS.index(found) >= LEVELS.index(level)


def for_people(line: str, *, colors: bool) -> str:
    """The event in `line` as text; a line that is no event as it stands."""
    event = _event(line)
    if event is None:
        return line
    level = str(event.get("level", "info"))
    return console_renderer(colors=colors)(None, level, {"event": "", **event, "level": level})


def _event(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _lines(file: IO[bytes], end: int) -> Iterator[str]:
    while file.tell() < end and (data := file.readline(MAX_LINE_BYTES)):
        if data.strip():
            yield _text(data)


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").rstrip("\r\n")


def _open(path: Path, start: int) -> IO[bytes] | None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    file.seek(start)
    return file


def _was_rotated(path: Path, file: IO[bytes]) -> bool:
    """Whether `path` names another file by now, or none."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return True
    held = os.fstat(file.fileno())
    return (now.st_dev, now.st_ino) != (held.st_dev, held.st_ino) or now.st_size < file.tell()
