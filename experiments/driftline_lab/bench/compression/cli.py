"""`driftline lab compress-bench`: progress on stderr, a table on stdout, the last line JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from driftline_lab.bench.options import JsonFile
from driftline_lab.bench.report import finish

app = typer.Typer()

Methods = Annotated[
    str,
    typer.Option(
        help="Methods, comma-separated, with options of their own where wanted: "
        "fastv,fastv:layer=3,voco:tokens=1. By default all that fit the model."
    ),
]
ExportedMethods = Annotated[
    str,
    typer.Option(
        help="Methods that exports run, comma-separated, with options of their own where wanted: "
        "prumerge,fastv:layer=3. By default all that read pictures."
    ),
]
Threads = Annotated[int, typer.Option(help="CPU threads.", min=1)]


@app.callback(invoke_without_command=True)
def table(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            help="tiny, smol, tiny-video, the folder of a pair, or of a tiny-video checkpoint."
        ),
    ] = "tiny",
    side: Annotated[
        Literal["teacher", "student"],
        typer.Option(help="Which side of a pair; trained methods lie beside the student."),
    ] = "teacher",
    methods: Methods = "",
    budgets: Annotated[
        str,
        typer.Option(help="Shares of the visual tokens; 1.0, uncompressed, is always measured."),
    ] = "0.5,0.25,0.125",
    questions: Annotated[int, typer.Option(help="Held-out questions asked.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the draw of questions and of the order.")] = 0,
    threads: Threads = 2,
    json_file: JsonFile = None,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for PNG plots of accuracy against cost.")
    ] = None,
) -> None:
    """Measure visual-token compression: a table of method x budget, every method on equal terms.

    A row has accuracy, FLOPs, measured times and bytes of the cache. Every question is answered by
    all, in an order drawn anew each time; times are medians, ratios are to the uncompressed model's
    time for the same question.

    Example: driftline lab compress-bench --model tiny --json tiny.json --plots ./plots

    Example: driftline lab compress-bench --model tiny-video --methods vidcom2,dycoke --budgets 0.25

    Example: driftline lab compress-bench --model ./tiny-voco --side student --methods voco
    """
    if context.invoked_subcommand is not None:
        return
    from driftline_lab.bench.compression.plan import parse_budgets
    from driftline_lab.bench.compression.rows import as_text
    from driftline_lab.bench.compression.table import run_table

    done = run_table(
        model,
        side=side,
        methods=methods,
        budgets=parse_budgets(budgets),
        num_questions=questions,
        seed=seed,
        threads=threads,
    )
    typer.echo(as_text(done.rows))
    for label, why in done.skipped.items():
        typer.echo(f"no row for {label}: {why}", err=True)
    if plots is not None:
        from driftline_lab.bench.compression.plots import write_plots

        for path in write_plots(plots, done.model, done.rows):
            typer.echo(f"wrote {path}", err=True)
    finish(done.document(), json_file)


@app.command()
def speed(
    methods: Methods = "",
    keep: Annotated[float, typer.Option(help="Share of visual tokens kept.")] = 0.25,
    rounds: Annotated[int, typer.Option(help="Timed turns of each, interleaved.", min=1)] = 7,
    seed: Annotated[int, typer.Option(help="Seed of the random tower, projector, pictures.")] = 0,
    threads: Threads = 2,
    json_file: JsonFile = None,
) -> None:
    """Time to the first token on the real SmolLM2-135M behind 576 visual tokens, with SDPA.

    The language model's weights are real, tower and projector are drawn at random: this measures
    time, its answers mean nothing. Once with one picture of 24 x 24 tokens, once with a clip of 16
    frames of 6 x 6.

    Example: driftline lab compress-bench speed --rounds 9 --json speed.json

    Example: driftline lab compress-bench speed --methods fastv:layer=2,vtw --keep 0.25
    """
    from driftline_lab.bench.compression.speed import as_text, run_speed

    done = run_speed(methods=methods, keep=keep, rounds=rounds, seed=seed, threads=threads)
    for layout in done["layouts"]:
        typer.echo(as_text(layout))
    finish(done, json_file)


@app.command()
def exported(
    methods: ExportedMethods = "",
    keep: Annotated[float, typer.Option(help="Share of visual tokens kept.")] = 0.25,
    precision: Annotated[
        Literal["fp32", "int8", "int4"], typer.Option(help="Which graphs run.")
    ] = "int8",
    rounds: Annotated[int, typer.Option(help="Timed turns of each, interleaved.", min=1)] = 7,
    same: Annotated[
        int, typer.Option(help="Pictures whose kept tokens are compared with torch's.", min=1)
    ] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the random tower, projector, pictures.")] = 0,
    threads: Threads = 2,
    json_file: JsonFile = None,
) -> None:
    """Time to the first token of an export behind 576 visual tokens, as a share of the same export
    without a compressor, and whether the tokens that stay are torch's.

    Example: driftline lab compress-bench exported --keep 0.25 --json exported.json
    """
    from driftline_lab.bench.compression.exported import as_text, run_exported

    done = run_exported(
        methods=methods,
        keep=keep,
        precision=precision,
        rounds=rounds,
        same=same,
        seed=seed,
        threads=threads,
    )
    typer.echo(as_text(done))
    finish(done, json_file)
