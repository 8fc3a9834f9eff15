"""A database that takes nothing while it is told to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from driftline_cloud.intake.database import Database

FULL = "database or disk is full"


class FailingDatabase(Database):
    """Takes no writes while `fault` is set, and with `fails_reads` gives nothing either."""

    fault = ""
    fails_reads = False

    def _fail(self) -> None:
        if self.fault:
            raise OperationalError("UPDATE", {}, sqlite3.OperationalError(self.fault))

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._fail()
        with super().write() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        if self.fails_reads:
            self._fail()
        with super().read() as connection:
            yield connection
