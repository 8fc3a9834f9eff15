"""`driftline device prepare`: which graphs of an export are fastest here."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline_device.cli.options import JsonFlag

if TYPE_CHECKING:
    from rich.table import Table

    from driftline_device.runtime.onnx.prepare import Report

app = typer.Typer()

_PREPARE_EXAMPLES = """
**Examples**

    driftline device prepare ./tiny-export

    driftline device prepare tiny --out ./tiny-export

    driftline device prepare ./tiny-export --threads 1 --threads 2 --questions 50 --json

Asks every precision of the export the same questions, at several numbers of CPU threads, and keeps
the fastest whose answers are those of fp32 (99 % of them at least): `runtime = "onnx"` then runs
that one. A pair is exported first, where driftline[export] is installed. Run it while the machine
does nothing else: it says where something does. The choice counts on this machine alone
(processor, their number, provider and version of onnxruntime); elsewhere int8 on one thread runs
until it is made anew, which a running device does by itself when it is idle (`prepare_anew`). Exit
codes: 0 well; 1 the export is damaged or does not fit into memory; 2 a flag is wrong or a package
is missing.
"""


@app.command(epilog=_PREPARE_EXAMPLES)
def prepare(
    pair_or_export: Annotated[str, typer.Argument(help="Folder of an export, or a pair.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Where a pair is exported to [NAME-export].")
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option("--threads", min=1, max=1024, help="CPU threads to try; may be repeated."),
    ] = None,
    questions: Annotated[
        int, typer.Option("--questions", min=1, max=100_000, help="Questions to ask of each.")
    ] = 200,
    undisturbed: Annotated[
        bool,
        typer.Option("--undisturbed", help="Keep no choice where other work disturbed the times."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Time an export on this machine and keep the fastest precision whose answers agree."""
    from rich.console import Console
    from rich.progress import Progress

    from driftline_shared.program.extras import needs_extra

    with needs_extra("preparing", "device"):
        from driftline_device.runtime.onnx.prepare import export_folder
        from driftline_device.runtime.onnx.prepare import prepare as prepare_export
    console = Console(stderr=True)
    folder = export_folder(pair_or_export, out, lambda text: console.print(text, style="dim"))
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("timing", total=1.0)
        report = prepare_export(
            folder,
            threads=threads or (),
            num_questions=questions,
            progress=lambda done: bar.update(task, completed=done),
            keeps_disturbed=not undisturbed,
        )
    if undisturbed and report.disturbed:
        for line in report.disturbed:
            typer.echo(f"nothing is kept: {line}", err=True)
        raise typer.Exit
    if as_json:
        memory = {name: asdict(fit) for name, fit in report.memory.items()}
        document = {
            "folder": str(report.folder),
            "memory_bytes": memory,
            "disturbed": list(report.disturbed),
        }
        typer.echo(json.dumps(document | report.prepared.model_dump(), indent=2))
        return
    Console().print(_table(report))
    chosen = report.prepared
    typer.echo(
        f"chosen: {chosen.precision} with {chosen.threads} CPU thread"
        f"{'s' if chosen.threads > 1 else ''}, on {chosen.num_questions} questions"
    )
    for line in report.disturbed:
        typer.echo(f"note: {line}", err=True)
    typer.echo(
        f"run it:  driftline device run --pair {shlex.quote(str(report.folder))} --api-port 8000"
    )


def _table(report: Report) -> Table:
    from rich.table import Table

    table = Table("precision", "threads", "ms an answer", "as fp32 answers", "memory, at most", "")
    chosen = report.prepared
    for one in chosen.candidates:
        kept = (one.precision, one.threads) == (chosen.precision, chosen.threads)
        table.add_row(
            one.precision,
            str(one.threads),
            f"{one.answer_ms:.1f}",
            f"{one.agreement:.1%}",
            f"{report.memory[one.precision].needed / (1 << 20):.0f} MiB",
            "chosen" if kept else "",
        )
    for name, fit in report.memory.items():
        if not fit.fits:
            there = (fit.available or 0) / (1 << 20)
            needed = f"{fit.needed / (1 << 20):.0f} MiB"
            table.add_row(name, "", "", "", needed, f"does not fit: {there:.0f} MiB are free")
    return table
