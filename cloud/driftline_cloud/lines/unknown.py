"""Devices whose base model no line has: kept by base for the operator, who may add the pair.

A device comes again and again, so a row is written once a minute at most, and there are so many
rows at most: the one that was not seen for longest goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import structlog
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.faults import say, writing
from driftline_cloud.lines.book import DROPPED
from driftline_shared.plain_text import visible
from driftline_shared.status import Enrolment, UnknownBase

MOST_ROWS = 1_000
MOST_LISTED = 50
AGAIN_S = 60

_log = structlog.get_logger(__name__)


class UnknownBases:
    """The devices that were turned away for their base model."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing = writing("bases that no line has")
        self._lock = threading.Lock()
        self._written: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._told: OrderedDict[str, None] = OrderedDict()

    def note(self, enrolment: Enrolment, *, now_unix_s: int) -> None:
        """Keep that this device was turned away; a base is logged once. Raises nothing."""
        key = (enrolment.base_model, enrolment.device_id)
        with self._lock:
            if now_unix_s - self._written.get(key, -AGAIN_S) < AGAIN_S:
                return
            self._written[key] = now_unix_s
            self._written.move_to_end(key)
            is_new = enrolment.base_model not in self._told
            self._told[enrolment.base_model] = None
            for kept in (self._written, self._told):
                while len(kept) > MOST_ROWS:
                    kept.popitem(last=False)
        if is_new:
            _log.warning(
                "base.unknown",
                pair=visible(enrolment.pair),
                base_model=enrolment.base_model[:12],
                device=enrolment.device_id,
                fix="`driftline cloud line add PAIR` serves a pair with this base model.",
            )
        try:
            self._write(enrolment, now_unix_s)
            self._writing.is_over()
        except SQLAlchemyError as error:
            say(self._writing, error, self._database.place)

    def _write(self, enrolment: Enrolment, now_unix_s: int) -> None:
        table = tables.unknown_devices
        mine = (table.c.base_model == enrolment.base_model) & (
            table.c.device_id == enrolment.device_id
        )
        with self._database.write() as connection:
            done = connection.execute(
                update(table).where(mine).values(pair=enrolment.pair, last_seen_unix_s=now_unix_s)
            )
            if done.rowcount:
                return
            num = int(connection.scalar(select(func.count()).select_from(table)) or 0)
            if num >= MOST_ROWS:
                oldest = select(table.c.base_model, table.c.device_id).order_by(
                    table.c.last_seen_unix_s, table.c.base_model, table.c.device_id
                )
                for row in connection.execute(oldest.limit(num - MOST_ROWS + 1)).all():
                    connection.execute(
                        delete(table).where(
                            table.c.base_model == row.base_model,
                            table.c.device_id == row.device_id,
                        )
                    )
            connection.execute(
                insert(table).values(
                    base_model=enrolment.base_model,
                    device_id=enrolment.device_id,
                    pair=enrolment.pair,
                    last_seen_unix_s=now_unix_s,
                )
            )

    def listed(self) -> tuple[UnknownBase, ...]:
        """The bases that no line serves now, last seen first, at most `MOST_LISTED`."""
        table, lines = tables.unknown_devices, tables.lines
        served = select(lines.c.base_model).where(lines.c.state != DROPPED)
        last = func.max(table.c.last_seen_unix_s).label("last_seen_unix_s")
        query = (
            select(
                table.c.base_model,
                func.max(table.c.pair).label("pair"),
                func.count().label("num_devices"),
                last,
            )
            .where(table.c.base_model.not_in(served))
            .group_by(table.c.base_model)
            .order_by(last.desc(), table.c.base_model)
            .limit(MOST_LISTED)
        )
        with self._database.read() as connection:
            return tuple(UnknownBase(**row) for row in connection.execute(query).mappings())
