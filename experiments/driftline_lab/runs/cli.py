"""`driftline lab diff`: two runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from driftline_lab.runs.difference import Difference

EXIT_DIFFERENT = 1
EXIT_WRONG_INPUT = 2

DIFF_EXAMPLES = """
**Examples**

    driftline lab diff ./monday ./tuesday

    driftline lab diff ./monday ./tuesday --json

Exit codes, like diff: 0 equal metrics; 1 different metrics; 2 a folder that cannot be read.
"""


def diff(
    run_a: Annotated[Path, typer.Argument(help="A run folder.")],
    run_b: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document of what differs.")
    ] = False,
) -> None:
    """What differs between two runs: settings, metrics, and the first answer."""
    from driftline_lab.runs.difference import compare
    from driftline_lab.runs.folder import read_run
    from driftline_shared.errors import DataError

    try:
        found = compare(read_run(run_a), read_run(run_b))
    except DataError as error:
        typer.echo(f"error: {error}\n  fix: {error.fix}  [{error.reason}]", err=True)
        raise typer.Exit(EXIT_WRONG_INPUT) from error
    if as_json:
        typer.echo(json.dumps(found.document(), indent=1, ensure_ascii=False))
    else:
        _show(found, run_a, run_b)
    raise typer.Exit(0 if found.same_metrics else EXIT_DIFFERENT)


def _show(found: Difference, run_a: Path, run_b: Path) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if found.note:
        console.print(f"note: {found.note}", markup=False, highlight=False)
    for title, pairs in (
        ("settings that differ", found.info),
        ("metrics", found.summary),
        ("metrics that differ, one by one", found.metrics),
    ):
        if not pairs:
            console.print(f"{title}: none")
            continue
        table = Table(title=title, title_justify="left", box=box.SIMPLE)
        for name in ("", "name", str(run_a), str(run_b)):
            table.add_column(escape(name), overflow="fold")
        for pair in pairs:
            mark, style = ("", "dim") if pair.same else ("≠", "")
            cells = (mark, pair.name, _text(pair.a), _text(pair.b))
            table.add_row(*map(escape, cells), style=style)
        console.print(table)
    console.print(_first(found), markup=False, highlight=False)
    console.print("metrics: the same" if found.same_metrics else "metrics: different")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _first(found: Difference) -> str:
    if found.first is None:
        return "timeline: every answer is the same"
    a, b = found.first
    if a is None or b is None:
        longer = a or b
        return f"timeline: one ends before answer {longer.n if longer else 0}"
    names = [name for name in type(a).__dataclass_fields__ if getattr(a, name) != getattr(b, name)]
    parts = [f"{name} {getattr(a, name)!r} / {getattr(b, name)!r}" for name in names]
    return f"timeline: the first answer that differs is {a.n}: {', '.join(parts)}"
