"""Past answers on disk, their pictures, and what the owner said about them.

Answers are buffered and written about once a second, off the path of an answer; what a kill costs
is that second. Marks are written at once. Where the disk takes nothing, answers are left out of the
history (logged once) and the device goes on; a broken file is set aside and a new one begun.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from driftline_device.history.marks import Mark, check_right_answer
from driftline_device.history.pictures import (
    Picture,
    RecentPictures,
    from_png,
    shrink,
    to_png,
)
from driftline_device.history.records import PastAnswer, UnknownAnswerError, UpdateCard
from driftline_device.history.rows import COLUMNS, MARK_COLUMNS, SELECT, to_mark, to_past, values_of
from driftline_device.history.schema import FILE, LAYOUT
from driftline_device.history.settings import HistorySettings
from driftline_shared.errors import DataError
from driftline_shared.exact_match import is_correct
from driftline_shared.host.database import DatabaseFile, transaction

MAX_WAITING = 4_096
"""Most answers that wait to be written; beyond, the oldest are left out."""

MAX_CARDS = 1_000
"""Updates remembered."""

MIN_ID_CHARS = 4
"""Of an answer's id that people may type: its end, for ids begin with the time."""

_SAME = "is_right = excluded.is_right AND answer IS excluded.answer"
"""In an upsert of a mark: what is said was said before."""

_CARD = TypeAdapter(UpdateCard)
_log = structlog.get_logger(__name__)


class History:
    """The history below one state folder; for any thread, and beside a running daemon."""

    def __init__(
        self,
        state: Path,
        settings: HistorySettings | None = None,
        *,
        canvas: tuple[int, int] | None = None,
        keeper: bool = True,
    ) -> None:
        """`canvas`: (height, width) to which the pair brings pictures. `keeper`: whether a broken
        file is set aside; a command beside a daemon leaves that to it. Opens nothing yet.
        """
        self._settings = settings or HistorySettings()
        self._canvas = canvas
        self._lock = threading.Lock()
        self._waiting: deque[tuple[PastAnswer, Picture | None]] = deque(maxlen=MAX_WAITING)
        self._corrected: deque[tuple[str, str, float]] = deque(maxlen=MAX_WAITING)
        self._recent = RecentPictures(self._settings.recent_bytes)
        self._failed = False
        self._lent: tuple[int, ...] = ()
        self._logged_broken_row = False
        self._file = DatabaseFile(
            state / FILE,
            LAYOUT,
            durable=False,
            keeper=keeper,
            on_set_aside=self._note_set_aside,
        )

    # -- the daemon's -----------------------------------------------------------------------------

    def add(self, answer: PastAnswer, picture: Picture | None) -> None:
        """Remember an answer; cheap. `picture`: (H, W, 3) uint8 RGB, the one asked about, or
        (F, H, W, 3) of a clip.
        """
        if self._settings.max_answers == 0:
            return
        small = None if picture is None else shrink(picture, self._canvas)
        with self._lock:
            self._waiting.append((answer, small))
            if small is not None:
                self._recent.add(answer.id, small)

    def correct(self, answer_id: str, answer: str, confidence: float) -> None:
        """Remember what the teacher answered; cheap."""
        if self._settings.max_answers > 0:
            with self._lock:
                self._corrected.append((answer_id, answer, confidence))

    def flush(self) -> None:
        """Write what waits, and give marks without a picture the one that is still held."""
        with self._lock:
            waiting, corrected = list(self._waiting), list(self._corrected)
            self._waiting.clear()
            self._corrected.clear()
        try:
            if waiting:
                self._file.run(lambda database: self._write(database, waiting))
                waiting = []
            if corrected:
                self._file.run(lambda database: self._correct(database, corrected))
                corrected = []
            # Another process may have marked an answer whose picture is held here.
            if self._recent and self._file.stamp() != self._lent:
                self._file.run(self._lend_pictures)
                self._lent = self._file.stamp()
        except (sqlite3.Error, OSError) as error:
            with self._lock:  # what waited comes first again; the oldest make room
                later = list(self._waiting)
                self._waiting.clear()
                self._waiting.extend([*waiting, *later])
                corrected += self._corrected
                self._corrected.clear()
                self._corrected.extend(corrected)
            if not self._failed:
                self._failed = True
                _log.error(
                    "history.not_written",
                    error=str(error),
                    fix="Make room, or let the device write there; answers go on, and the newest "
                    f"{MAX_WAITING:,} wait in memory.",
                )
            return
        if self._failed:
            self._failed = False
            _log.info("history.written_again")

    def note_update(self, card: UpdateCard) -> None:
        """Remember what became of an update; the same as the newest is not noted twice."""
        text = json.dumps(asdict(card), allow_nan=False)

        def write(database: sqlite3.Connection) -> None:
            newest = database.execute(
                "SELECT version, outcome, reason FROM updates ORDER BY number DESC LIMIT 1"
            ).fetchone()
            if newest == (card.version, card.outcome, card.reason):
                return
            with transaction(database):
                database.execute(
                    "INSERT INTO updates (unix_s, version, outcome, reason, card)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (card.unix_s, card.version, card.outcome, card.reason, text),
                )
                database.execute(
                    "DELETE FROM updates WHERE number <= (SELECT MAX(number) FROM updates) - ?",
                    (MAX_CARDS,),
                )

        self._file.run(write)

    def checked(self) -> list[Mark]:
        """The newest marks with a picture: what a new version is held to."""
        return self._marks("ORDER BY unix_s DESC LIMIT ?", self._settings.max_checked)

    def to_teach(self, most: int) -> list[Mark]:
        """The oldest marks that say what is right and were not made samples yet."""
        known = "AND (is_right OR answer IS NOT NULL) AND NOT taught"
        return self._marks(f"{known} ORDER BY unix_s LIMIT ?", most)

    def note_taught(self, answer_id: str) -> None:
        """That mark was made a sample, or never can be."""
        self._file.run(
            lambda database: database.execute(
                "UPDATE marks SET taught = 1 WHERE id = ?", (answer_id,)
            )
        )

    def _marks(self, which: str, *values: int) -> list[Mark]:
        """Those with a picture that reads."""
        rows = self._file.read(
            lambda database: database.execute(
                f"SELECT {', '.join(MARK_COLUMNS)}, png FROM marks WHERE png IS NOT NULL {which}",
                values,
            ).fetchall()
        )
        pictures = [from_png(row[-1]) for row in rows]
        return [
            to_mark(row[:-1], picture)
            for row, picture in zip(rows, pictures, strict=True)
            if picture is not None
        ]

    # -- the owner's ------------------------------------------------------------------------------

    def mark(self, id_end: str, *, right: bool, answer: str | None, now_s: float) -> Mark:
        """Note the owner's word on the answer whose id ends so; a second word replaces the first.

        `answer`: what would be right, where `right` is False. Raises DataError for an id that no
        answer has, or that several have, for an answer that was right and is corrected, and
        for a right answer that says what was said.
        """
        if right and answer is not None:
            raise DataError("an answer that was right needs no other")
        if answer is not None:
            check_right_answer(answer)
        self.flush()
        found = self.find(id_end)
        if answer is not None and is_correct(answer, found.answer):
            raise DataError(
                f"{answer!r} is what was answered: it cannot be wrong and right",
                fix="Say that the answer was right, or name another one.",
            )
        with self._lock:
            picture = self._recent.get(found.id)
        png = None if picture is None else to_png(picture)

        def write(database: sqlite3.Connection) -> None:
            with transaction(database):
                database.execute(
                    "INSERT INTO marks (id, unix_s, feed, place, question, said, is_right, answer,"
                    " version, png) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?,"
                    " COALESCE(?, (SELECT png FROM pictures WHERE pictures.id = ?)))"
                    " ON CONFLICT (id) DO UPDATE SET png = COALESCE(excluded.png, png),"
                    " is_right = excluded.is_right, answer = excluded.answer,"
                    # The same said again is neither newer nor to be taught again.
                    f" unix_s = CASE WHEN {_SAME} THEN unix_s ELSE excluded.unix_s END,"
                    f" taught = CASE WHEN {_SAME} THEN taught ELSE 0 END",
                    (
                        found.id,
                        now_s,
                        found.feed,
                        found.place,
                        found.question,
                        found.answer,
                        int(right),
                        answer,
                        found.version,
                        png,
                        found.id,
                    ),
                )
                database.execute(
                    "DELETE FROM marks WHERE id NOT IN"
                    " (SELECT id FROM marks ORDER BY unix_s DESC LIMIT ?)",
                    (self._settings.max_marks,),
                )

        self._file.run(write)
        return Mark(
            id=found.id,
            unix_s=now_s,
            question=found.question,
            said=found.answer,
            right=right,
            answer=answer,
            place=found.place,
            feed=found.feed,
            version=found.version,
            picture=picture,
        )

    def unmark(self, id_end: str) -> PastAnswer:
        """Take the owner's word on an answer back. Raises DataError as `mark` does."""
        found = self.find(id_end)
        if found.right is None:
            raise DataError(f"the answer {found.id[-8:]} is not marked")

        def write(database: sqlite3.Connection) -> None:
            with transaction(database):
                database.execute("DELETE FROM marks WHERE id = ?", (found.id,))

        self._file.run(write)
        return found

    def find(self, id_end: str) -> PastAnswer:
        """The answer whose id is, or ends with, `id_end`. Raises DataError."""
        wanted = id_end.strip().lower()
        if len(wanted) < MIN_ID_CHARS or not set(wanted) <= set("0123456789abcdef"):
            raise DataError(
                f"{id_end!r} is no answer's id: give its last {MIN_ID_CHARS} hex digits or more"
            )
        rows = self._file.read(
            lambda database: database.execute(
                f"{SELECT} WHERE substr(answers.id, -{len(wanted)}) = ? LIMIT 2", (wanted,)
            ).fetchall()
        )
        if not rows:
            raise UnknownAnswerError(
                f"no answer ends with {wanted}: `driftline device history` shows those that are"
                f" kept (the newest {self._settings.max_answers:,})"
            )
        if len(rows) > 1:
            raise DataError(f"several answers end with {wanted}: give more of the id")
        return self._with_recent(to_past(rows[0]))

    def answers(
        self, *, most: int, before: str | None = None, marked: bool = False
    ) -> list[PastAnswer]:
        """The newest answers first, at most `most`; `before`: older than that id. `marked`: only
        those that the owner marked.
        """
        conditions, values = ["1"], []
        if before is not None:
            conditions.append("answers.number < (SELECT number FROM answers WHERE id = ?)")
            values.append(before)
        if marked:
            conditions.append("marks.id IS NOT NULL")
        where = " AND ".join(conditions)
        rows = self._file.read(
            lambda database: database.execute(
                f"{SELECT} WHERE {where} ORDER BY answers.number DESC LIMIT ?", (*values, most)
            ).fetchall()
        )
        found = []
        for row in rows:
            try:
                found.append(self._with_recent(to_past(row)))
            except ValueError as error:
                if not self._logged_broken_row:
                    self._logged_broken_row = True
                    _log.error("history.row_broken", error=str(error))
        return found

    def _with_recent(self, past: PastAnswer) -> PastAnswer:
        """A picture that is held in memory is there, too."""
        if past.has_picture:
            return past
        with self._lock:
            return replace(past, has_picture=self._recent.get(past.id) is not None)

    def picture(self, answer_id: str) -> bytes | None:
        """PNG of the answer's picture, if one is kept."""
        with self._lock:
            recent = self._recent.get(answer_id)
        if recent is not None:
            return to_png(recent)
        row = self._file.read(
            lambda database: database.execute(
                "SELECT png FROM marks WHERE id = ?1 AND png IS NOT NULL"
                " UNION ALL SELECT png FROM pictures WHERE id = ?1 LIMIT 1",
                (answer_id,),
            ).fetchone()
        )
        return None if row is None else bytes(row[0])

    def updates(self, *, most: int = 20) -> list[UpdateCard]:
        """What became of updates, the newest first; a row that does not read is left out."""
        rows = self._file.read(
            lambda database: database.execute(
                "SELECT card FROM updates ORDER BY number DESC LIMIT ?", (most,)
            ).fetchall()
        )
        found = []
        for (text,) in rows:
            try:
                found.append(_CARD.validate_json(text))
            except ValueError as error:
                _log.error("history.card_broken", error=str(error))
        return found

    def close(self) -> None:
        """Write what waits and release the file."""
        self.flush()
        self._file.close()

    # -- one transaction each ---------------------------------------------------------------------

    def _write(
        self,
        database: sqlite3.Connection,
        waiting: Sequence[tuple[PastAnswer, Picture | None]],
    ) -> None:
        pictures = self._settings.pictures
        coded = [to_png(small) if pictures and small is not None else None for _, small in waiting]
        with transaction(database):
            for (answer, _), png in zip(waiting, coded, strict=True):
                number = database.execute(
                    f"INSERT OR IGNORE INTO answers ({', '.join(COLUMNS)})"
                    f" VALUES ({', '.join('?' * len(COLUMNS))})",
                    values_of(answer),
                ).lastrowid
                if png is not None:
                    database.execute(
                        "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?)",
                        (answer.id, number, len(png), png),
                    )
            self._forget_old(database)

    def _correct(
        self, database: sqlite3.Connection, corrected: Sequence[tuple[str, str, float]]
    ) -> None:
        with transaction(database):
            database.executemany("INSERT OR REPLACE INTO teacher VALUES (?, ?, ?)", corrected)
            database.execute("DELETE FROM teacher WHERE id NOT IN (SELECT id FROM answers)")

    def _forget_old(self, database: sqlite3.Connection) -> None:
        newest = database.execute("SELECT COALESCE(MAX(number), 0) FROM answers").fetchone()[0]
        oldest = newest - self._settings.max_answers
        # A marked answer stays as long as its mark: it can be looked at, and taken back.
        database.execute(
            "DELETE FROM answers WHERE number <= ? AND id NOT IN (SELECT id FROM marks)", (oldest,)
        )
        database.execute("DELETE FROM pictures WHERE number <= ?", (oldest,))
        total = database.execute("SELECT COALESCE(SUM(num_bytes), 0) FROM pictures").fetchone()[0]
        for number, num_bytes in database.execute(
            "SELECT number, num_bytes FROM pictures ORDER BY number"
        ).fetchall():
            if total <= self._settings.max_picture_bytes:
                break
            database.execute("DELETE FROM pictures WHERE number = ?", (number,))
            total -= num_bytes

    def _lend_pictures(self, database: sqlite3.Connection) -> None:
        """A mark made by another process has no picture; this one may still hold it."""
        for (answer_id,) in database.execute("SELECT id FROM marks WHERE png IS NULL").fetchall():
            with self._lock:
                picture = self._recent.get(answer_id)
            if picture is not None:
                with transaction(database):
                    database.execute(
                        "UPDATE marks SET png = ? WHERE id = ?", (to_png(picture), answer_id)
                    )

    def _note_set_aside(self, aside: Path, error: sqlite3.Error) -> None:
        _log.error(
            "history.set_aside",
            aside=str(aside),
            error=str(error),
            fix="Past answers and marks are in the file set aside; check the disk.",
        )
