"""`driftline lab`: build pairs, write streams, run benches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.bench.cli import app as bench_app
from driftline_lab.bench.compression.cli import app as compress_bench_app
from driftline_lab.chaos.cli import EXAMPLES as CHAOS_EXAMPLES
from driftline_lab.chaos.cli import chaos
from driftline_lab.data.emoji.cli import app as fetch_app
from driftline_lab.experiments.cli import TABLES_EXAMPLES, tables
from driftline_lab.lmms.cli import EXAMPLES as LMMS_EXAMPLES
from driftline_lab.lmms.cli import lmms_eval
from driftline_lab.recipes.cli import app as build_app
from driftline_lab.recipes.compressors.cli import train_compressor
from driftline_lab.recording.cli import EXAMPLES as MAKE_EXAMPLES
from driftline_lab.recording.cli import make
from driftline_lab.replay.cli import EXAMPLES as REPLAY_EXAMPLES
from driftline_lab.replay.cli import replay
from driftline_lab.report.cli import REPORT_EXAMPLES, report
from driftline_lab.runs.cli import DIFF_EXAMPLES, diff
from driftline_lab.trace.cli import app as trace_app

app = typer.Typer(help="Recipes, data sets with drift, benches.", no_args_is_help=True)
app.add_typer(build_app, name="build-pair")
app.add_typer(fetch_app, name="fetch")
app.add_typer(bench_app, name="bench")
app.add_typer(compress_bench_app, name="compress-bench")
app.add_typer(trace_app, name="trace")
train = app.command("train-compressor")(train_compressor)
make_tables = app.command("tables", epilog=TABLES_EXAMPLES)(tables)
make_trace = trace_app.command("make", epilog=MAKE_EXAMPLES)(make)
rerun = app.command("replay", epilog=REPLAY_EXAMPLES)(replay)
compare = app.command("diff", epilog=DIFF_EXAMPLES)(diff)
break_all = app.command("chaos", epilog=CHAOS_EXAMPLES)(chaos)
public_tasks = app.command("lmms-eval", epilog=LMMS_EXAMPLES)(lmms_eval)
draw = app.command("report", epilog=REPORT_EXAMPLES)(report)


@app.command()
def stream(
    folder: Annotated[Path, typer.Argument(help="Folder to write stream.jsonl and tests into.")],
    world: Annotated[
        str, typer.Option(help="Data set: easyvqa, openmoji, emoji or boards.")
    ] = "easyvqa",
    segments: Annotated[
        str | None,
        typer.Option(
            help="Domains in turn, by name: source, night, corrupt-fog … or source, lineart …"
        ),
    ] = None,
    questions: Annotated[int, typer.Option(help="Questions in each segment.")] = 1500,
    tests: Annotated[int, typer.Option(help="Held-out questions of each domain.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of stream, drifts and test choice.")] = 0,
) -> None:
    """Write a synthetic drifting stream as a folder that `driftline demo --data` reads.

    Example: driftline lab stream ./foggy --segments source,fog --seed 3
    """
    from driftline_lab.data.streams import Segment
    from driftline_lab.data.worlds import world_named

    chosen = world_named(world, pair="")
    names = chosen.domains_of(segments)
    parts = [Segment(domain=name, num_questions=questions) for name in names]
    chosen.write(folder, parts, seed=seed, num_test=tests)
    typer.echo(f"wrote {folder / 'stream.jsonl'}, test.jsonl, source_test.jsonl")


@app.command("show-openmoji")
def show_openmoji(
    out: Annotated[Path, typer.Argument(help="PNG file to write.")],
    concepts: Annotated[int, typer.Option(help="How many things to show.", min=1, max=100)] = 24,
    seed: Annotated[int, typer.Option(help="Seed of the choice and the views.")] = 0,
) -> None:
    """Write a contact sheet of the OpenMoji task: things in its three styles, one picture.

    Example: driftline lab show-openmoji sheet.png --concepts 12
    """
    from driftline_lab.data.openmoji.sheet import write_sheet

    write_sheet(out, num_concepts=concepts, seed=seed)
    typer.echo(f"wrote {out}")


@app.command()
def docs(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; 1 if one is stale.")
    ] = False,
    root: Annotated[Path, typer.Option(help="Top of a checkout.")] = Path(),
) -> None:
    """Make the tables in the documents anew, from experiments/results and the settings.

    Example: driftline lab docs --check
    """
    from driftline_lab.docs_tables.page import pages
    from driftline_lab.docs_tables.table import TABLES

    stale = [(page, name) for page in pages(root.resolve()) for name in page.stale(TABLES)]
    for page, name in stale:
        typer.echo(f"{page.file}: table {name} is {'stale: make docs' if check else 'made anew'}")
    if check:
        raise typer.Exit(int(bool(stale)))
    for page in {page for page, _ in stale}:
        page.refresh(TABLES)
