"""What was asked of the teacher and is not answered yet, and counts by the hour: one SQLite file.

    escalation.sqlite   asked    sample, unix_s, body (the `Asked`, as JSON)
                        counts   hour (since 1970), name (of `Tally`), value; of the last 24 hours

Not synced: a power cut may cost the newest rows, and so a correction that nobody hears of.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from driftline_device.escalation.records import Asked, Tally
from driftline_shared.host.database import DatabaseFile, Layout, transaction
from driftline_shared.host.durable import error_text

FILE = "escalation.sqlite"
HOUR_S = 3600.0
HOURS = 24

LAYOUT = Layout(
    what="escalations",
    application_id=0x44524C45,  # "DRLE"
    version=1,
    tables="""
CREATE TABLE asked (sample TEXT PRIMARY KEY, unix_s REAL NOT NULL, body TEXT NOT NULL);
CREATE TABLE counts (
  hour INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (hour, name)
)""",
    names=frozenset({"asked", "counts"}),
)

_ASKED = TypeAdapter(Asked)
_NAMES = frozenset(field.name for field in fields(Tally))
_log = structlog.get_logger(__name__)


class Book:
    """The file below one state folder; for any thread. Where the disk takes nothing, that is logged
    once and what it should keep is forgotten at the end of the process.
    """

    def __init__(self, state: Path, *, keeper: bool = True) -> None:
        """`keeper`: whether a broken file is set aside; a command beside a daemon leaves it."""
        self._path = state / FILE
        self._failed = False
        self._file = DatabaseFile(
            self._path, LAYOUT, durable=False, keeper=keeper, on_set_aside=self._note_set_aside
        )

    def asked(self) -> list[Asked]:
        """All that is not answered, the oldest first; a row that does not read is dropped."""
        found: list[Asked] = []

        def read(database: sqlite3.Connection) -> None:
            rows = database.execute("SELECT sample, body FROM asked ORDER BY unix_s").fetchall()
            for sample, body in rows:
                try:
                    found.append(_ASKED.validate_json(body))
                except ValueError:
                    database.execute("DELETE FROM asked WHERE sample = ?", (sample,))

        self._write(read)
        return found

    def ask(self, asked: Asked) -> None:
        """Keep it until `settle`, and count it."""

        def write(database: sqlite3.Connection) -> None:
            with transaction(database):
                database.execute(
                    "INSERT OR REPLACE INTO asked VALUES (?, ?, ?)",
                    (asked.sample, asked.unix_s, json.dumps(asdict(asked))),
                )
                _count(database, asked.unix_s, {"asked": 1, "num_bytes": asked.num_bytes})

        self._write(write)

    def withdraw(self, asked: Asked) -> None:
        """It was not asked, after all."""

        def write(database: sqlite3.Connection) -> None:
            with transaction(database):
                database.execute("DELETE FROM asked WHERE sample = ?", (asked.sample,))
                _count(database, asked.unix_s, {"asked": -1, "num_bytes": -asked.num_bytes})

        self._write(write)

    def settle(self, asked: Asked, *, now_s: float, **counts: int) -> None:
        """It is over; `counts` by their names in `Tally`."""

        def write(database: sqlite3.Connection) -> None:
            with transaction(database):
                database.execute("DELETE FROM asked WHERE sample = ?", (asked.sample,))
                _count(database, now_s, counts)

        self._write(write)

    def tally(self, *, now_s: float) -> Tally:
        """Of the 24 hours up to now. Raises sqlite3.Error or OSError where it cannot be read."""
        hour = int(now_s // HOUR_S)
        rows = self._file.read(
            lambda database: database.execute(
                "SELECT name, SUM(value) FROM counts WHERE hour > ? GROUP BY name", (hour - HOURS,)
            ).fetchall()
        )
        return Tally(**{name: max(0, int(value)) for name, value in rows if name in _NAMES})

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            self._file.run(work)
        except (sqlite3.Error, OSError) as error:
            if not self._failed:
                self._failed = True
                text = error_text(error) if isinstance(error, OSError) else str(error)
                _log.error(
                    "escalation.not_written",
                    path=str(self._path),
                    error=text,
                    fix="Make room, or let the device write there; answers and corrections go on.",
                )
            return
        if self._failed:
            self._failed = False
            _log.info("escalation.written_again", path=str(self._path))

    def _note_set_aside(self, aside: Path, error: sqlite3.Error) -> None:
        _log.error(
            "escalation.set_aside",
            aside=str(aside),
            error=str(error),
            fix="Corrections of answers of before are not told any more; check the disk.",
        )


def read_tally(state: Path, *, now_s: float) -> Tally | None:
    """Of the last 24 hours of a device on `state`; None where it never asked, or none can tell."""
    if not (state / FILE).is_file():
        return None
    book = Book(state, keeper=False)
    try:
        return book.tally(now_s=now_s)
    except (sqlite3.Error, OSError) as error:
        _log.error("escalation.unreadable", path=str(state / FILE), error=str(error))
        return None
    finally:
        book.close()


def _count(database: sqlite3.Connection, now_s: float, counts: dict[str, int]) -> None:
    hour = int(now_s // HOUR_S)
    for name, value in counts.items():
        if value:
            database.execute(
                "INSERT INTO counts VALUES (?, ?, ?)"
                " ON CONFLICT (hour, name) DO UPDATE SET value = value + excluded.value",
                (hour, name, value),
            )
    # A clock that was set back must not keep hours that lie ahead for ever.
    database.execute("DELETE FROM counts WHERE hour <= ? OR hour > ?", (hour - HOURS, hour + HOURS))
