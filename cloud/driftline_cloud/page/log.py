"""The page of who did what: to versions, lines, members, groups and keys."""

from __future__ import annotations

from collections.abc import Sequence

from driftline_cloud.page.frame import Cell, Frame, lines_choice, paged, said, table
from driftline_cloud.page.text import when
from driftline_cloud.page.values import Asked
from driftline_cloud.rollout.audit import AuditEntry
from driftline_shared.pages.markup import Markup, tag


def log_page(
    frame: Frame, entries: Sequence[AuditEntry], asked: Asked, lines: Sequence[str]
) -> str:
    """What was done, newest first."""
    return frame.page(
        "Who did what",
        lines_choice(frame, lines, asked.line, every=True),
        log_table(entries, with_line=True),
        paged(frame, asked.offset, asked.limit, len(entries), None),
        tag(
            "p",
            "On the command line: ",
            tag("code", "driftline cloud release log"),
            class_="note",
        ),
    )


def log_table(entries: Sequence[AuditEntry], *, with_line: bool) -> Markup:
    """The entries as a table; `with_line`: of several lines, or of none."""
    rows: list[list[Cell]] = [
        [
            (when(one.at_unix_s), "time"),
            said(one.who),
            said(one.action),
            *([said(one.line)] if with_line else []),
            "" if one.version is None else str(one.version),
            (said(one.detail), "text"),
        ]
        for one in entries
    ]
    of_line = ["line"] if with_line else []
    heads = ["when (UTC)", "who", "what", *of_line, "version #", "about, why"]
    return table(heads, rows, nothing="Nobody did a thing.")
