"""Many rows in one statement, as the driver takes them.

SQLAlchemy's own way handles each value of each row by itself, and SQLite's driver lets other
threads run at each row: where thousands of rows come in a second, either is most of the time. What
is written and asked here is of types that every driver takes as they are: numbers, text, bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Table

Names = tuple[str, ...]
Values = tuple[Any, ...]

_MOST_VALUES = 900
"""In one statement; older builds of SQLite take 999."""

_SIGNS = {"qmark": "?", "format": "%s", "pyformat": "%s"}
"""What stands for a value in a statement, by the driver's style."""


def insert_rows(connection: Connection, table: Table, names: Names, rows: Sequence[Values]) -> None:
    """Insert `rows`, each with the values of the columns `names`."""
    for some, signs in _parts(connection, rows, len(names)):
        connection.exec_driver_sql(_insert(table.name, names, signs), _flat(some))


def add_to_rows(
    connection: Connection, table: Table, keys: Names, names: Names, rows: Iterable[Values]
) -> None:
    """Add numbers to the columns `names` of rows that are known by `keys`, the table's primary key.

    `rows`: the values of `keys`, then what is added; a row that is not there is made, with it.
    """
    # In one order, so that two transactions never wait for each other's rows.
    for some, signs in _parts(connection, sorted(rows), len(keys) + len(names)):
        connection.exec_driver_sql(_add(table.name, keys, names, signs), _flat(some))


def update_rows(
    connection: Connection, table: Table, keys: Names, names: Names, rows: Iterable[Values]
) -> None:
    """Set the columns `names` of rows that are known by `keys`; `rows`: the values of both."""
    for some, signs in _parts(connection, sorted(rows), len(keys) + len(names)):
        connection.exec_driver_sql(_update(table.name, keys, names, signs), _flat(some))


def select_rows(
    connection: Connection, table: Table, names: Names, keys: Names, rows: Sequence[Values]
) -> Iterator[Values]:
    """The columns `names` of the rows whose columns `keys` have the values of one of `rows`."""
    for some, signs in _parts(connection, rows, len(keys)):
        found = connection.exec_driver_sql(_select(table.name, names, keys, signs), _flat(some))
        yield from map(tuple, found)


def _parts(
    connection: Connection, rows: Sequence[Values], width: int
) -> Iterator[tuple[Sequence[Values], str]]:
    """`rows` by statements, with what stands for them there."""
    sign, most = _SIGNS[connection.dialect.paramstyle], _MOST_VALUES // width
    for start in range(0, len(rows), most):
        some = rows[start : start + most]
        yield some, _signs(sign, width, len(some))


def _flat(rows: Sequence[Values]) -> Values:
    return tuple(chain.from_iterable(rows))


@lru_cache(maxsize=1_024)
def _signs(sign: str, width: int, num_rows: int) -> str:
    row = f"({', '.join([sign] * width)})"
    return ", ".join([row] * num_rows)


@lru_cache(maxsize=1_024)
def _insert(table: str, names: Names, signs: str) -> str:
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES {signs}"


@lru_cache(maxsize=1_024)
def _add(table: str, keys: Names, names: Names, signs: str) -> str:
    sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in names)
    insert = _insert(table, (*keys, *names), signs)
    return f"{insert} ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sums}"


@lru_cache(maxsize=1_024)
def _select(table: str, names: Names, keys: Names, signs: str) -> str:
    # A join goes by the index of the keys; SQLite reads a whole table for
    # `(a, b) IN (VALUES ...)`.
    shown = ", ".join(f"{table}.{name}" for name in names)
    given = f"(VALUES {signs}) AS given"
    return f"SELECT {shown} FROM {given} CROSS JOIN {table} WHERE {_same(table, keys)}"


@lru_cache(maxsize=1_024)
def _update(table: str, keys: Names, names: Names, signs: str) -> str:
    start = len(keys) + 1
    new = ", ".join(f"{name} = given.column{place}" for place, name in enumerate(names, start))
    given = f"(VALUES {signs}) AS given"
    return f"UPDATE {table} SET {new} FROM {given} WHERE {_same(table, keys)}"


def _same(table: str, keys: Names) -> str:
    """SQLite and PostgreSQL call the columns of values column1, column2 and so on."""
    return " AND ".join(
        f"{table}.{key} = given.column{place}" for place, key in enumerate(keys, start=1)
    )
