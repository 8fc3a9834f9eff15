"""`driftline lab tables`: the tables of runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline_shared.errors import ConfigError, DriftlineError

if TYPE_CHECKING:
    from driftline_lab.experiments.making.makers import Stock

EXIT_WRONG_SETTING = 2
MOST_QUESTIONS = 1_000_000
MOST_JOBS = 256

TABLES_EXAMPLES = """
**Examples**

    driftline lab tables --quick

    driftline lab tables --quick --only token-share --out ./quick

    driftline lab tables --only accuracy --only pareto --seeds 0,1,2 --out ./tables

    driftline lab tables --list --out ./tables

    driftline lab tables --jobs 8 --out ./tables

    driftline lab tables --pair smol --only accuracy --baselines logit-kd --questions 300

Tables: accuracy, captions, ablation, token-share, links, gate-scores, pareto, forgetting,
round-cost. Each is a folder of --out: table.md, plot.png, result.json, config.json. Exit codes: 0
well, 1 failed, 2 a flag or setting is wrong.
"""


def tables(
    out: Annotated[Path, typer.Option(help="Folder of a folder a table, and of kept runs.")] = Path(
        "tables"
    ),
    only: Annotated[
        list[str] | None, typer.Option(help="This table (see below); repeat for more.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Small runs that show that a table works; their numbers say nothing."
        ),
    ] = False,
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    seeds: Annotated[
        str, typer.Option(help="Seeds, comma-separated; by default five, or one with --quick.")
    ] = "",
    baselines: Annotated[
        str,
        typer.Option(
            help="Compare the product with these alone, comma-separated; a table names the others."
        ),
    ] = "",
    questions: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_QUESTIONS, help="Questions of a segment; 600, or 60 quick."),
    ] = None,
    tests: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_QUESTIONS, help="Held-out questions of a domain; 300, or 24 quick."
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of kept tokens and labels; the user's by default.")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_JOBS,
            help="Processes that make runs side by side, each with the pair in memory.",
        ),
    ] = 1,
    as_list: Annotated[
        bool,
        typer.Option("--list", help="Make nothing; say how many runs each needs and has there."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print which tables were made, or the list, as JSON.")
    ] = False,
) -> None:
    """Make the tables that compare Driftline with its baselines; what is there is kept."""
    import platformdirs

    from driftline_lab.experiments.lab import Lab
    from driftline_lab.experiments.making.child import Workplace
    from driftline_lab.experiments.making.here import Here
    from driftline_lab.experiments.making.makers import Makers, make_tables, stock
    from driftline_lab.experiments.making.orders import Order
    from driftline_lab.experiments.making.processes import SideBySide
    from driftline_lab.experiments.tables.listed import TABLES, table_named
    from driftline_lab.experiments.tables.scale import Choice
    from driftline_lab.lists import names_of, seeds_of
    from driftline_lab.replay.cache.store import ResultStore
    from driftline_lab.runs.folder import need_run_folder
    from driftline_shared.program.logs import setup_logs

    setup_logs(level="warning")
    one_line = threading.Lock()

    def report(text: str) -> None:
        with one_line:  # runs side by side have a thread each
            typer.echo(f"  {text}", err=True)

    def begin(ordered: Sequence[Order]) -> Makers:
        if jobs == 1:
            return Here(lab, ordered, report)
        names = tuple(table.name for table in chosen)
        place = Workplace(folder=out, cache=folder, choice=choice, tables=names)
        missing = [each for each in ordered if not lab.has(each.plan, each.baseline)]
        return SideBySide(place, missing, jobs, report)

    try:
        chosen = [table_named(name) for name in only or TABLES]
        choice = Choice(
            pair=pair,
            quick=quick,
            seeds=seeds_of(seeds) if seeds else (),
            baselines=names_of("--baselines", baselines) if baselines else (),
            questions=questions,
            tests=tests,
        )
        scale = choice.scale()
        if not as_list:
            need_run_folder(out)
        folder = cache or platformdirs.user_cache_path("driftline", appauthor=False) / "lab"
        with closing(ResultStore(folder)) as store:
            lab = Lab(out, store, report=report)
            if as_list:
                _list(stock(chosen, lab, scale, out), as_json=as_json)
                return
            made = make_tables(chosen, lab, scale, out, begin, report)
    except ConfigError as error:
        _fail(error, EXIT_WRONG_SETTING)
    except DriftlineError as error:
        _fail(error, 1)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "made": made.tables, "failed": made.failed}))
    else:
        for name, new in made.tables.items():
            typer.echo(f"{out / name / 'table.md'}: {'made' if new else 'was there'}")
    for name, runs in made.failed.items():
        for run in runs:
            typer.echo(f"error: {name} was not made: {run}", err=True)
    if made.failed:
        raise typer.Exit(1)


def _list(found: Sequence[Stock], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found]))
        return
    for each in found:
        made = "made" if each.made else "not made"
        note = f"; {each.note}" if each.note else ""
        typer.echo(f"{each.table:12} {each.runs:4} runs, {each.there:4} there; {made}{note}")


def _fail(error: DriftlineError, code: int) -> None:
    typer.echo(f"error: {error}\n  fix: {error.fix}  [{error.reason}]", err=True)
    raise typer.Exit(code) from error
