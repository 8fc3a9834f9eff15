"""The table of a trace's columns, from the columns themselves."""

from __future__ import annotations

from driftline_lab.docs_tables.page import Page, Rows
from driftline_shared.trace.columns import COLUMNS

_PARQUET = {
    "int": "int64",
    "float": "double",
    "bool": "bool",
    "text": "string",
    "bytes": "binary",
    "ints": "list of int32",
    "scores": "list of struct",
}


def columns(_page: Page) -> Rows:
    """Every column, its type in Parquet, and its meaning."""
    return [
        ["column", "type", "meaning"],
        *([f"`{name}`", _PARQUET[kind], meaning] for name, kind, meaning, _ in COLUMNS),
    ]
