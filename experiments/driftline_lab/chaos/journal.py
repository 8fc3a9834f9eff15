"""What was done to whom and what came of it, one JSON line each, as it happens."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any


class Journal:
    """Appends to a file; safe from any thread. Times are seconds since it was made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began_s = time.monotonic()
        self._lock = threading.Lock()

    @property
    def now_s(self) -> float:
        """Seconds since the journal was made."""
        return time.monotonic() - self._began_s

    def note(self, event: str, **values: Any) -> None:
        """One line."""
        row = {"t": round(self.now_s, 3), "event": event, **values}
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=str) + "\n")

    def tail(self, num: int) -> list[dict[str, Any]]:
        """The last lines."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        return [json.loads(line) for line in lines[-num:] if line]
