"""Opens a trace for a command that reads all of it, and says what such a command leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from driftline_shared.errors import ConfigError
from driftline_shared.program.nearest import nearest
from driftline_shared.trace.reader import Trace, open_trace


def open_to_read(folder: Path, note: Callable[[str], None]) -> Trace:
    """The trace in `folder`; `note` is given a sentence on events that are in no part yet.

    DataError if there is none, or its journal cannot be read.
    """
    trace = open_trace(folder)
    trace.check_journal()
    if waiting := trace.num_unfinished():
        note(
            f"note: {waiting} events of {folder} are in its journal and left out here; "
            "`driftline lab trace recover` makes them a part, once nobody writes it"
        )
    return trace


def need_values(trace: Trace, column: str, wanted: Iterable[str]) -> frozenset[str]:
    """`wanted`; ConfigError with what is there, if no event has one of them in text `column`."""
    asked = frozenset(wanted)
    if not asked:
        return asked
    there: set[str] = set()
    for batch in trace.batches([column]):
        there |= set(batch.column(column).to_pylist())
        if asked <= there:
            return asked
    values = sorted(value for value in there if value is not None)
    found = ", ".join(values) or "none"
    (first, *_) = sorted(asked - there)
    hint = nearest(first, values)
    raise ConfigError(
        f"--{column} {first!r}: no event of {trace.folder} has it{hint or ';'} there are {found}",
        fix="`driftline lab trace info` shows what a trace holds.",
    )
