"""What devices themselves told of answers and samples, read as it grows (`programs/device.py`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(kw_only=True)
class Witness:
    """One device's file. `on_disk`, `in_memory`: ids of samples that its spool took, and where it
    had them at that moment. `answers`: by the version that gave them.
    """

    path: Path
    answers: Counter[int] = field(default_factory=Counter)
    on_disk: list[str] = field(default_factory=list)
    in_memory: list[str] = field(default_factory=list)
    num_starts: int = 0
    _offset: int = 0

    def read(self) -> None:
        """Take in what came since the last time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode().splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "a":
                self.answers[int(rest.split(" ")[0])] += 1
            elif kind == "s":
                self.on_disk.append(rest)
            elif kind == "m":
                self.in_memory.append(rest)
            elif kind == "b":
                self.num_starts += 1

    @property
    def num_answers(self) -> int:
        """In all."""
        return self.answers.total()
