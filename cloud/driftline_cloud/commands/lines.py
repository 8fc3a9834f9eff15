"""Which line a command on the database is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from driftline_shared.errors import DataError
from driftline_shared.plain_text import visible

if TYPE_CHECKING:
    from driftline_cloud.intake.database import Database

LineFlag = Annotated[
    str, typer.Option("--line", help="Name of the line; default: the cloud's only one.")
]


def named_line(database: Database, line: str) -> str:
    """`line`, or the only one there is; DataError where that is not clear."""
    from driftline_cloud.rollout.store import RolloutStore

    known = RolloutStore(database).lines()
    if line:
        if line not in known:
            raise DataError(
                f"the cloud has no line {visible(line)!r}, it has {', '.join(known) or 'none'}"
            )
        return line
    if not known:
        raise DataError(
            "the cloud has no line yet", fix="Start `driftline cloud serve` on its state folder."
        )
    if len(known) != 1:
        raise DataError(
            f"the cloud has {len(known)} lines: {', '.join(known)}",
            fix="Name one with --line.",
        )
    return known[0]
