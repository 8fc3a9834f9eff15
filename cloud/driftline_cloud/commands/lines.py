"""Which line a command on the database is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from driftline_shared.errors import DataError, Reason
from driftline_shared.plain_text import visible

if TYPE_CHECKING:
    from driftline_cloud.intake.database import Database

LineFlag = Annotated[
    str, typer.Option("--line", help="A line, or the pair of one; default: the only one.")
]


def named_line(database: Database, line: str) -> str:
    """`line` by its id or the name of its pair, or the only one that is not dropped; DataError
    where that is not clear.
    """
    from driftline_cloud.lines.book import DROPPED, LineBook, meant
    from driftline_cloud.rollout.store import RolloutStore

    rows = LineBook(database).all()
    every = sorted({row.id for row in rows} | set(RolloutStore(database).lines()))
    if line:
        # A line may be older than the rows of lines.
        found = [line] if line in every else [row.id for row in meant(rows, line)]
        if len(found) != 1:
            what = "more than one line of the pair" if found else "no line"
            here = ", ".join(every) or "none"
            raise DataError(
                f"the cloud has {what} {visible(line)[:128]!r}, it has {here}",
                reason=Reason.LINE_UNKNOWN,
                fix="`driftline cloud line list` shows them.",
            )
        return found[0]
    dropped = {row.id for row in rows if row.state == DROPPED}
    known = [one for one in every if one not in dropped] or every
    if not known:
        raise DataError(
            "the cloud has no line yet",
            reason=Reason.LINE_UNKNOWN,
            fix="Start `driftline cloud serve` on its state folder.",
        )
    if len(known) != 1:
        raise DataError(
            f"the cloud has {len(known)} lines: {', '.join(known)}",
            reason=Reason.LINE_UNKNOWN,
            fix="Name one with --line.",
        )
    return known[0]
