"""Files that a folder holds and no one asked a question about, because they are not read here:
counted by kind, and told.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import structlog

from driftline_shared.host.clock import Clock
from driftline_shared.pictures import shown
from driftline_shared.pictures.formats import HEIC_FIX, HEIC_SUFFIXES, readable, suffixes

MAX_REMEMBERED = 10_000
"""Files of a watched folder known to have been counted; more are not counted."""

AGAIN_S = 600.0
"""Least seconds from one line about a watched folder to the next."""

_SHOWN_KINDS = 8
_SUFFIX_CHARS = 12

_log = structlog.get_logger(__name__)


class LeftOut:
    """The files of one folder that were passed over, each counted once."""

    def __init__(self, folder: Path) -> None:
        self._folder = shown(folder)
        self._known: set[str] = set()
        self._kinds: Counter[str] = Counter()
        self._num_told = 0
        self._told_s: float | None = None

    @property
    def num(self) -> int:
        """How many so far."""
        return self._kinds.total()

    def knows(self, path: str) -> bool:
        """Whether the file was counted, or would not be."""
        return path in self._known or len(self._known) >= MAX_REMEMBERED

    def add(self, path: str, *, is_file: bool = True) -> None:
        """Count the file; one that is a pipe, a link or the like by that."""
        if self.knows(path):
            return
        self._known.add(path)
        suffix = shown(Path(path).suffix)[:_SUFFIX_CHARS]
        self._kinds[(suffix or "without suffix") if is_file else "no regular file"] += 1

    def sentence(self) -> str:
        """`3 files of unknown kind left out: .HEIC 2, .xyz 1`"""
        ranked = sorted(self._kinds.items(), key=lambda each: (-each[1], each[0]))
        most = ranked[:_SHOWN_KINDS]
        kinds = [f"{kind} {num}" for kind, num in most]
        rest = self.num - sum(num for _, num in most)
        if rest:
            kinds.append(f"others {rest}")
        files = "file" if self.num == 1 else "files"
        return f"{self.num} {files} of unknown kind left out: {', '.join(kinds)}"

    def tell(self, clock: Clock | None = None) -> None:
        """Log the sentence if there are more than when it was last; with `clock`, not too often."""
        if self.num == self._num_told:
            return
        now_s = clock.monotonic_s() if clock is not None else 0.0
        if clock is not None and self._told_s is not None and now_s - self._told_s < AGAIN_S:
            return
        self._num_told, self._told_s = self.num, now_s
        fix = f"Read are {', '.join(readable())}; save others as PNG or JPEG."
        if any(kind.lower() in HEIC_SUFFIXES - suffixes() for kind in self._kinds):
            fix = f"For HEIC: {HEIC_FIX}. {fix}"
        _log.warning("source.files_left_out", folder=self._folder, problem=self.sentence(), fix=fix)
