"""The files of a folder: paths, sizes and digests. Links are refused: they lead elsewhere."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from driftline_shared.callbacks import ignore
from driftline_shared.errors import PairError, Reason

MAX_FILES, MAX_DEPTH = 4_096, 32
MAX_PATH_CHARS = 512
_BLOCK_BYTES = 1 << 20
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A file: hex sha256, and bytes; None: not known."""

    sha256: str
    size: int | None = None


Listing = Mapping[str, Listed]
"""By path below the folder, with slashes."""


def list_folder(
    folder: Path, left_out: Container[str], report: Callable[[str], None] = ignore
) -> dict[str, Listed]:
    """Every file of `folder` but those `left_out`, in order of their paths; PairError, OSError.

    `report` is told each file before it is read.
    """
    found = {}
    for name in sorted(sizes_in(folder, left_out)):
        report(name)
        found[name] = digest_file(folder, name)
    return found


def compare(
    folder: Path,
    signed: Listing,
    left_out: Container[str],
    report: Callable[[str], None] = ignore,
) -> dict[str, Listed]:
    """What is there, as `signed`. PairError that names what is not: files that were added, are
    missing or were changed. Sizes are looked at before anything is read. OSError.
    """
    sizes = sizes_in(folder, left_out)
    wrong = [f"{name} was added" for name in sorted(sizes.keys() - signed.keys())]
    wrong += [f"{name} is missing" for name in sorted(signed.keys() - sizes.keys())]
    rest = sorted(sizes.keys() & signed.keys())
    other = {n for n in rest if signed[n].size is not None and signed[n].size != sizes[n]}
    wrong += [f"{n} has {sizes[n]} bytes, not {signed[n].size}" for n in sorted(other)]
    found = dict[str, Listed]()
    for name in (name for name in rest if name not in other):
        if len(wrong) > _MOST_NAMED:
            break
        report(name)
        found[name] = digest_file(folder, name)
        if found[name].sha256 != signed[name].sha256:
            wrong.append(f"{name} was changed")
    if wrong:
        more = ", and more" if len(wrong) > _MOST_NAMED else ""
        raise untrusted(f"{folder} is not what was signed: {', '.join(wrong[:_MOST_NAMED])}{more}")
    return found


def sizes_in(folder: Path, left_out: Container[str]) -> dict[str, int]:
    """Path -> bytes of every file; PairError for links, what is no file, and too many; OSError."""
    found: dict[str, int] = {}
    for name, size in _walk(folder, "", 0):
        if name in left_out:
            continue
        found[name] = size
        if len(found) > MAX_FILES:
            raise untrusted(f"{folder} holds more than {MAX_FILES:,} files: that is no pair")
    return found


def is_path(name: str) -> bool:
    """Whether a file below a folder may have this path."""
    return (
        0 < len(name) <= MAX_PATH_CHARS
        and name.isprintable()
        and all(part not in ("", ".", "..") for part in name.split("/"))
    )


def digest_file(folder: Path, name: str) -> Listed:
    """What is in a file now, read once, as far as it reached when it was opened; PairError if it is
    none any more, OSError.
    """
    descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise untrusted(f"{folder / name} is no file")
        digest, left = hashlib.sha256(), status.st_size
        while left and (block := file.read(min(left, _BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
    return Listed(sha256=digest.hexdigest(), size=status.st_size)


def untrusted(message: str, *, fix: str = "") -> PairError:
    """A pair that is not believed."""
    return PairError(message, reason=Reason.PAIR_UNTRUSTED, fix=fix)


def _walk(folder: Path, below: str, depth: int) -> Iterator[tuple[str, int]]:
    if depth > MAX_DEPTH:
        raise untrusted(f"{folder / below} lies more than {MAX_DEPTH} folders deep")
    with os.scandir(folder / below) as entries:
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            if not is_path(name):
                raise untrusted(f"{folder} holds a file with a name that is not plain: {name!r}")
            if entry.is_symlink():
                raise untrusted(
                    f"{folder / name} is a link, whose other end nobody signed",
                    fix="Copy what it leads to in its place (`cp -rL`), and sign the copy.",
                )
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder, name, depth + 1)
            elif entry.is_file(follow_symlinks=False):
                yield name, entry.stat(follow_symlinks=False).st_size
            else:
                raise untrusted(f"{folder / name} is no file")
