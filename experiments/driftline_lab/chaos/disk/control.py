"""The block of shared memory by which a program's disk and clock are given orders.

Sixty-four 32-bit words, as `shim.c` has them, then one double: seconds that its clock is off.
"""

from __future__ import annotations

import mmap
import struct
from enum import IntEnum
from pathlib import Path

CONTROL, ROOT = "DRIFTLINE_CHAOS_CONTROL", "DRIFTLINE_CHAOS_ROOT"
"""Variables that tell a program where its block is, and below which folder its disk fails."""

_NUM_WORDS = 64
_CLOCK_AT = 4 * _NUM_WORDS
_SIZE = _CLOCK_AT + 8


class Mode(IntEnum):
    """What the disk says to writes."""

    WELL = 0
    FULL = 1
    READ_ONLY = 2


class Death(IntEnum):
    """How a write ends its program; see `shim.c`."""

    BEFORE = 1
    TORN = 2
    AFTER = 3
    POWER_CUT = 4
    POWER_CUT_OF_DATA = 5
    POWER_CUT_OF_SOME = 6


class _Word(IntEnum):
    MODE = 0
    COUNTDOWN = 1
    DEATH = 2
    EVENTS = 3
    FIRED = 4
    UNDONE = 5
    NO_SQLITE = 6
    SEED = 7


class Control:
    """One program's block; made where it is missing."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_SIZE))
        self.path = path
        with path.open("r+b") as file:
            self._block = mmap.mmap(file.fileno(), _SIZE)

    def set_mode(self, mode: Mode) -> None:
        """From now on."""
        self._put(_Word.MODE, mode)

    def kill_at(self, write: int, how: Death, seed: int) -> None:
        """End the program at its `write`-th write from now."""
        self._put(_Word.SEED, seed & 0x7FFFFFFF)
        self._put(_Word.DEATH, how)
        self._put(_Word.COUNTDOWN, write)

    def calm(self) -> None:
        """No order stands."""
        self._put(_Word.COUNTDOWN, 0)
        self.set_mode(Mode.WELL)
        self.set_clock(0.0)

    def spare_sqlite(self) -> None:
        """A power cut undoes no write of SQLite's: two programs share that database, and each
        knows only its own writes.
        """
        self._put(_Word.NO_SQLITE, 1)

    def set_clock(self, offset_s: float) -> None:
        """The program's wall clock is off by so much."""
        struct.pack_into("<d", self._block, _CLOCK_AT, offset_s)

    @property
    def clock_s(self) -> float:
        """How far the wall clock is off."""
        return float(struct.unpack_from("<d", self._block, _CLOCK_AT)[0])

    @property
    def num_fired(self) -> int:
        """Deaths at a write so far."""
        return self._get(_Word.FIRED)

    @property
    def num_undone(self) -> int:
        """Writes, names and folders that power cuts took back so far."""
        return self._get(_Word.UNDONE)

    @property
    def num_writes(self) -> int:
        """Writes seen so far."""
        return self._get(_Word.EVENTS)

    @property
    def waits(self) -> bool:
        """Whether a death is ordered that has not come yet."""
        return self._get(_Word.COUNTDOWN) > 0

    def _put(self, word: _Word, value: int) -> None:
        struct.pack_into("<i", self._block, 4 * word, value)

    def _get(self, word: _Word) -> int:
        return int(struct.unpack_from("<i", self._block, 4 * word)[0])
