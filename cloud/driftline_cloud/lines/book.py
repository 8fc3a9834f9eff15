"""The lines of a cloud as its operator keeps them: rows that commands change and programs follow.

active     its devices are served, rounds are made
paused     its devices are served and their samples stored; no round goes on or begins
dropped    its devices are turned away; what is stored stays until its time is over
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.line import Line
from driftline_cloud.rollout.audit import operator, write_entry
from driftline_shared.errors import DataError, Reason
from driftline_shared.plain_text import visible
from driftline_shared.status import ACTIVE_LINE, DROPPED_LINE, PAUSED_LINE

ACTIVE, PAUSED, DROPPED = ACTIVE_LINE, PAUSED_LINE, DROPPED_LINE

_ORDERED = {ACTIVE: "resume line", PAUSED: "pause line", DROPPED: "drop line"}
"""Under which word the log has a change of state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownLine:
    """A line as its row says. `pair`: as `load_pair` takes it; `pair_name`: as devices say it.

    `group`: of devices that left the line `parent`, whose versions up to `forked_version` are its
    own. `least_version`: what its newest version must be numbered. `num_moves`: rises whenever
    devices come or go.
    """

    id: str
    pair: str
    pair_name: str
    base_model: str
    token_space: str
    state: str
    added_unix_s: int
    changed_unix_s: int
    group: str = ""
    parent: str = ""
    forked_version: int = 0
    least_version: int = 0
    num_moves: int = 0


def meant(lines: Sequence[KnownLine], name: str) -> list[KnownLine]:
    """Those of `lines` that an operator means by `name`: the one of that id, else all of a pair
    (groups apart), or PAIR/GROUP.
    """
    pair, _, group = name.partition("/")
    return [row for row in lines if row.id == name] or [
        row for row in lines if (row.pair_name, row.group) == (pair, group)
    ]


class LineBook:
    """The rows of `lines`; for any thread and process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> tuple[KnownLine, ...]:
        """Every line, in the order in which they were added."""
        table = tables.lines
        query = select(*(table.c[each.name] for each in fields(KnownLine)))
        query = query.order_by(table.c.added_unix_s, table.c.id)
        with self._database.read() as connection:
            return tuple(KnownLine(**row) for row in connection.execute(query).mappings())

    def find(self, name: str) -> KnownLine:
        """The line of that id, or the only one of a pair of that name; DataError (line_unknown) for
        none.
        """
        known = self.all()
        found = meant(known, name)
        if len(found) == 1:
            return found[0]
        many = "more than one line is of the pair" if found else "there is no line"
        raise DataError(
            f"{many} {visible(name)[:128]!r}; there are: "
            f"{', '.join(row.id for row in known) or 'none'}",
            reason=Reason.LINE_UNKNOWN,
            fix="`driftline cloud line list` shows the lines.",
        )

    def add(self, pair: str, line: Line, *, now_unix_s: int) -> KnownLine:
        """Have `line` from now on; one that was dropped comes back with all that is stored of it.

        DataError where it is there already.
        """
        before = self.get(line.id)
        if before is None:
            return self.ensure(pair, line, now_unix_s=now_unix_s)
        if before.state != DROPPED:
            how = "" if before.state == ACTIVE else f": `driftline cloud line resume {line.id}`"
            raise DataError(
                f"line {line.id} is there already, {before.state}{how}",
                fix="Another quantization, or another student, makes another line.",
            )
        return self._change(line.id, now_unix_s, state=ACTIVE, pair=pair)

    def ensure(self, pair: str, line: Line, *, now_unix_s: int) -> KnownLine:
        """The row of `line`, made where there is none."""
        row = KnownLine(
            id=line.id,
            pair=pair,
            pair_name=line.pair,
            base_model=line.base_model,
            token_space=line.token_space.digest,
            state=ACTIVE,
            added_unix_s=now_unix_s,
            changed_unix_s=now_unix_s,
        )
        known = self.get(line.id)
        if known is not None:
            return known
        try:
            with self._database.write() as connection:
                connection.execute(
                    insert(tables.lines).values(
                        {each.name: getattr(row, each.name) for each in fields(KnownLine)}
                    )
                )
        except IntegrityError:  # another program was first
            return self.get(line.id) or row
        return row

    def set_state(self, line: str, state: str, *, now_unix_s: int, who: str = "") -> KnownLine:
        """Bring `line`, which is known, into `state`; `who` orders it, for the log."""
        return self._change(line, now_unix_s, who=who or operator(), state=state)

    def get(self, line: str) -> KnownLine | None:
        """The line of that id; None: there is none."""
        return next((row for row in self.all() if row.id == line), None)

    def _change(self, line: str, now_unix_s: int, *, who: str = "", **values: str) -> KnownLine:
        """`who`: orders it, which the log has; empty: nobody does, it has not."""
        table = tables.lines
        with self._database.write() as connection:
            connection.execute(
                update(table).where(table.c.id == line).values(changed_unix_s=now_unix_s, **values)
            )
            if who:
                write_entry(
                    connection,
                    now_unix_s=now_unix_s,
                    who=who,
                    action=_ORDERED[values["state"]],
                    line=line,
                    version=None,
                )
        found = self.get(line)
        if found is None:
            raise DataError(f"there is no line {line}", reason=Reason.LINE_UNKNOWN)
        return found
