"""Reports that wait for the cloud: a small file, so that no outcome is lost to a restart.

The file holds one JSON row per report, oldest first. Every change writes a new file beside it
and renames it into place: a kill leaves the old file or the new one. A delivered report
is removed afterwards, so one may be told twice, never not at all.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import structlog

from driftline_shared.bounds import MAX_DETAIL_CHARS, MAX_NUMBERS
from driftline_shared.errors import LinkError, Reason
from driftline_shared.host.durable import make_folder, write_atomic
from driftline_shared.status import UpdateOutcome, UpdateReport

MAX_REPORTS = 256
MAX_FILE_BYTES = 16 << 20
_log = structlog.get_logger(__name__)


class Outbox:
    """A durable first-in-first-out queue of reports, for any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._rows: list[UpdateReport] = self._read()

    def __len__(self) -> int:
        with self._lock:
            return len(self._rows)

    def put(self, report: UpdateReport) -> None:
        """Keep `report` durably; past the bound the oldest is dropped, with a word in the log.

        `LinkError` if the disk does not take it: then it is not kept at all.
        """
        kept = replace(
            report,
            detail=report.detail[:MAX_DETAIL_CHARS],
            numbers=dict(list(report.numbers.items())[:MAX_NUMBERS]),
        )
        with self._lock:
            rows = [*self._rows, kept]
            if len(rows) > MAX_REPORTS:
                _log.error("report.dropped", version=rows[0].version, outcome=rows[0].outcome)
                rows = rows[1:]
            try:
                self._write(rows)
            except OSError as error:
                raise LinkError(
                    f"a report cannot be kept: {error}", reason=Reason.INTERNAL
                ) from error
            self._rows = rows

    def first(self) -> UpdateReport | None:
        """The oldest report, which stays here."""
        with self._lock:
            return self._rows[0] if self._rows else None

    def remove(self, report: UpdateReport) -> None:
        """Forget a report that was delivered."""
        with self._lock:
            # By identity: two equal reports are two outcomes.
            rows = [row for row in self._rows if row is not report]
            self._rows = rows
            try:
                self._write(rows)
            except OSError as error:  # it may be told again after a restart, which does no harm
                _log.warning("report.not_removed", path=str(self._path), error=str(error))

    def _write(self, rows: Iterable[UpdateReport]) -> None:
        make_folder(self._path.parent)
        text = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        write_atomic(self._path, text.encode())

    def _read(self) -> list[UpdateReport]:
        """The reports of the file; a row that does not read is logged and left out."""
        rows = []
        try:
            with self._path.open("rb") as file:
                lines = file.read(MAX_FILE_BYTES).splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            _log.error("reports.unreadable", path=str(self._path), error=str(error))
            return []
        for number, line in enumerate(lines[-MAX_REPORTS:], start=1):
            try:
                rows.append(_report(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                _log.error("report.unreadable", path=str(self._path), line=number, error=str(error))
        return rows


def _report(row: dict[str, object]) -> UpdateReport:
    numbers = row["numbers"]
    if not isinstance(numbers, dict):
        raise TypeError("numbers is no table")
    return UpdateReport(
        version=int(str(row["version"])),
        outcome=UpdateOutcome(str(row["outcome"])),
        reason=str(row["reason"]),
        detail=str(row["detail"]),
        numbers={str(name): float(value) for name, value in numbers.items()},
    )
